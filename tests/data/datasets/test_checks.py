"""Boxes that cannot be learnt."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from ssd.data.datasets.checks import drop_bad_boxes

from ssd.data.datasets.sizes import read_annotated_image
from ssd.utils.errors import DatasetError


def test_boxes_are_clipped_or_dropped_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    boxes = np.array([[-2, 1, 5, 30], [5, 1, 4, 3], [5, 1, 5, 3], [10, 1, 12, 3], [1, np.nan, 3, 4]])
    with caplog.at_level(logging.WARNING):
        clipped, keep = drop_bad_boxes(
            boxes, np.tile([10, 20], (5, 1)), place="cells", describe=lambda row: f"box {row}"
        )
    assert clipped[0].tolist() == [0, 1, 5, 20]
    assert keep.tolist() == [True, False, False, False, False]
    assert "cells: 4 of 5 boxes dropped: box 1 is inverted; box 2 is of zero area; box 3 is outside" in caplog.text


def test_no_boxes() -> None:
    clipped, keep = drop_bad_boxes(np.zeros((0, 4)), np.zeros((0, 2)), place="cells", describe=str)
    assert (clipped.shape, keep.shape) == ((0, 4), (0,))


def test_a_reduced_image_is_held_against_its_annotation(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.full((61, 99, 3), 90, np.uint8))
    for size, reduction in (((99, 61), 2), ((61, 99), 4)):  # exchanged sides are a slip
        image, applied = read_annotated_image(path, *size, reduction)
        assert (image.shape, applied) == ((-(-61 // reduction), -(-99 // reduction), 3), reduction)
    with pytest.raises(DatasetError, match="the image is 99 x 61 pixels but annotated as 120 x 61"):
        read_annotated_image(path, 120, 61, 2)
