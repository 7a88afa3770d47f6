import io

import numpy as np
from PIL import Image

from ssd.tools.report.error_sections import mark_errors

NONE = np.empty((0, 4))


def open_jpeg(found=NONE, false_alarms=NONE, missed=NONE, shape=(200, 300, 3)) -> np.ndarray:
    boxes = [np.array(group, dtype=float).reshape(-1, 4) for group in (found, false_alarms, missed)]
    jpeg, size = mark_errors(np.full(shape, 128, np.uint8), *boxes)
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert pixels.shape == (size[1], size[0], 3)
    return pixels.astype(int)


def test_each_kind_has_its_line() -> None:
    box = [100, 60, 199, 159]
    plain = np.abs(open_jpeg() - 128).max()
    assert plain <= 2
    side = (slice(100, 130), slice(97, 103))  # of the left edge
    false, missed, found = (open_jpeg(**{kind: [box]})[side] for kind in ("false_alarms", "missed", "found"))
    red = false[..., 0] - false[..., 2]
    assert (red.max(axis=1) > 100).all()  # unbroken
    yellow = missed[..., 0] - missed[..., 2]
    assert (yellow.max(axis=1) > 60).any()
    assert (yellow.max(axis=1) < 60).any()  # dashed
    assert found.max() > 220
    assert np.ptp(found, axis=-1).max() < 30  # black and white


def test_large_images_are_reduced_and_boxes_kept_inside() -> None:
    assert open_jpeg(shape=(2000, 1000, 3)).shape == (560, 280, 3)
    pixels = open_jpeg(false_alarms=[[-50, -50, 5000, 5000], [10, 10, 10, 10]], missed=[[290, 190, 400, 400]])
    assert pixels.shape == (200, 300, 3)
