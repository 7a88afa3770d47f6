"""The hook for a lufficc/SSD checkout, on a stand-in with its modules and signatures (see conftest.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.peer import Peer
from benchmarks.photos import write_photos
from benchmarks.timing import NotMeasuredError

PREDICTIONS = {"cls_logits": torch.zeros(2, 8732, 21), "bbox_pred": torch.zeros(2, 8732, 4)}
OBJECTS = {"boxes": torch.full((2, 8, 4), 0.5), "labels": torch.ones(2, 8, dtype=torch.int64)}
IMAGES = {"images": torch.zeros(2, 3, 8, 8)}
PHOTO_OBJECTS = {"boxes": np.ones((2, 8, 4)), "labels": np.ones(8, np.int64)}


def test_all_tasks(checkout: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    on_cpu = {"device": "cpu"}
    tasks: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("loader", PHOTO_OBJECTS, {"photos": str(tmp_path / "photos")}),
        ("assignment", OBJECTS, {}),
        ("loss", {**OBJECTS, **PREDICTIONS}, on_cpu),
        ("training_loss", {**OBJECTS, **PREDICTIONS}, on_cpu),
        ("post_processing", PREDICTIONS, on_cpu),
        ("step", {**OBJECTS, **IMAGES}, {**on_cpu, "config": "vgg_ssd300_voc0712"}),
        ("network", IMAGES, on_cpu),
        ("detection", {"images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8), **PREDICTIONS}, on_cpu),
    ]
    with Peer(checkout) as peer:
        timers = [(task, peer.timer(task, arrays, **options)) for task, arrays, options in tasks]
        for task, timer in timers * 2:  # they take turns
            assert timer(2) > 0, task


def test_tasks_that_fail(checkout: Path) -> None:
    """One error leaves the other tasks; the end of the process ends them all."""
    (checkout / "ssd" / "modeling" / "box_head" / "loss.py").write_text("class OtherLoss: ...\n")
    (checkout / "ssd" / "utils" / "box_utils.py").write_text("import os; os._exit(4)")
    with Peer(checkout) as peer:
        with pytest.raises(NotMeasuredError, match=r"AttributeError: module .* has no attribute 'MultiBoxLoss'"):
            peer.timer("loss", {**OBJECTS, **PREDICTIONS}, device="cpu")(1)
        assert peer.timer("assignment", OBJECTS)(1) > 0
        with pytest.raises(NotMeasuredError, match="its process has ended with status 4"):
            peer.timer("post_processing", PREDICTIONS, device="cpu")(1)
        with pytest.raises(NotMeasuredError, match="its process has ended"):
            peer.timer("assignment", OBJECTS)(1)


def test_checkouts_that_cannot_be_imported(checkout: Path, tmp_path: Path) -> None:
    """One ends the interpreter, as the NMS of lufficc/SSD does without the shim."""
    (checkout / "ssd" / "utils" / "nms.py").write_text("import sys; sys.exit(-1)")
    with pytest.raises(NotMeasuredError, match=r"cannot be imported: SystemExit: -1 \(nms\.py:1\)"):
        Peer(checkout)
    with pytest.raises(NotMeasuredError, match="holds no package ssd"):
        Peer(tmp_path)
