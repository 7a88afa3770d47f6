"""Detections as input of what draws, counts, names and writes them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ssd.inference.detections import Detections

NAMES = ("__background__", "cat", "dog", "snow leopard")


def make_detections(objects: Iterable[tuple[Any, int, float]] = (), **fields: Any) -> Detections:
    """Return detections of (box, label, score) in an image of 64 x 48 pixels."""
    boxes, labels, scores = zip(*objects, strict=True) if objects else ((), (), ())
    arrays = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "scores": np.array(scores, np.float32),
    }
    return Detections(**{**arrays, "class_names": NAMES, "orig_size": (64, 48), **fields})
