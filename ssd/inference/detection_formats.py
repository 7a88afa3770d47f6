"""Detections in the formats of others. Legend: N objects."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from ssd.utils.errors import ConfigError

if TYPE_CHECKING:
    from ssd.inference.detections import Detections

_NO_XML_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def to_coco(
    detections: "Detections", image_id: int, category_ids: Mapping[int, int] | None = None
) -> list[dict[str, Any]]:
    """Return results as COCO's API loads them.

    Args:
        detections: of one image.
        image_id: of the image in the dataset.
        category_ids: label -> the dataset's id of the class, for each class that is found; None = the label itself.

    Returns:
        A dictionary an object: image_id, category_id, bbox [x, y, width, height] in pixels of the original image,
        score.

    Raises:
        ConfigError: a class that is found is not in ``category_ids``.
    """
    _check_category_ids(detections, category_ids)
    boxes = detections.boxes.astype(np.float64)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # (N, 4)
    return [
        {
            "image_id": image_id,
            "category_id": label if category_ids is None else category_ids[label],
            "bbox": box,
            "score": score,
        }
        for label, box, score in zip(
            detections.labels.tolist(), boxes.tolist(), detections.scores.tolist(), strict=True
        )
    ]


def _check_category_ids(detections: "Detections", category_ids: Mapping[int, int] | None) -> None:
    missing = [] if category_ids is None else [n for n in detections.labels.tolist() if n not in category_ids]
    if missing:
        raise ConfigError(
            f"category_ids has no entry for label {missing[0]}, {detections.class_names[missing[0]]!r}, which was "
            "found; add one, or filter(classes=...) first"
        )


def to_voc_xml(detections: "Detections") -> str:
    """Return an annotation as Pascal VOC has them, for correcting by hand or training on.

    Corners count from 1 and are not rounded to whole pixels, so ``VOCDataset`` reads the same boxes, clipped to the
    image. Each object also has its <score>, which readers of VOC pass over.
    """
    root = ElementTree.Element("annotation")
    folder = detections.path.parent.name if detections.path else ""
    filename = detections.path.name if detections.path else detections.name
    _add_fields(root, {"folder": folder, "filename": filename})
    width, height = detections.orig_size
    _add_fields(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add_fields(root, {"segmented": 0})
    for name, box, score in zip(detections.names, detections.boxes, detections.scores, strict=True):
        element = ElementTree.SubElement(root, "object")
        _add_fields(element, {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": 0, "score": score})
        corners = (box.astype(np.float64) + 1).round(3)
        _add_fields(ElementTree.SubElement(element, "bndbox"), dict(zip(_CORNERS, corners.tolist(), strict=True)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_fields(parent: ElementTree.Element, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = _NO_XML_CHARACTER.sub("\ufffd", str(value))


def to_json(detections: "Detections") -> str:
    """Return one line of JSON.

    Its keys: ``name`` of the image; ``path`` of its file or null; ``index``; ``width`` and ``height`` of the image in
    pixels; ``video``: null, or ``name``, ``frame_rate`` (0 = unknown), ``num_frames`` (null = unknown), ``width`` and
    ``height``; ``objects``, best first: each with ``name`` of its class, ``label``, ``score`` and ``box`` [x1, y1, x2,
    y2] in pixels of the image, which it may leave.
    """
    video = detections.video
    scores, boxes = _shortest(detections.scores), _shortest(detections.boxes.reshape(-1))
    content = {
        "name": detections.name,
        "path": str(detections.path) if detections.path else None,
        "index": detections.index,
        "width": detections.orig_size[0],
        "height": detections.orig_size[1],
        "video": video
        and {
            "name": video.name,
            "frame_rate": video.frame_rate,
            "num_frames": video.num_frames,
            "width": video.size[0],
            "height": video.size[1],
        },
        "objects": [
            {"name": name, "label": label, "score": scores[row], "box": boxes[4 * row : 4 * row + 4]}
            for row, (name, label) in enumerate(zip(detections.names, detections.labels.tolist(), strict=True))
        ],
    }
    return json.dumps(content, ensure_ascii=False)


def _shortest(values: np.ndarray) -> list[float]:
    """Floats with as few digits as tell float32 values apart."""
    return [float(str(value)) for value in values.astype(np.float32)]


def to_supervision(detections: "Detections") -> Any:
    """Return ``supervision.Detections``: xyxy, confidence, class_id (our label), data["class_name"].

    Raises:
        ImportError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise ImportError("to_supervision() needs the package supervision: pip install supervision") from error
    return supervision.Detections(
        xyxy=detections.boxes.copy(),
        confidence=detections.scores.copy(),
        class_id=detections.labels.copy(),
        data={"class_name": np.array(detections.names, dtype=str)},
    )
