import io

import numpy as np
from PIL import Image

from ssd.tools.report.error_sections import Mark, draw_marks
from ssd.visualization.palette import GREEN, VERMILLION, YELLOW


def open_jpeg(color: str = "", boxes=(), shape=(720, 720, 3)) -> np.ndarray:
    marks = [Mark("M1", np.array(box, dtype=float), color) for box in boxes]
    jpeg, size = draw_marks(np.full(shape, 128, np.uint8), marks)
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert pixels.shape == (size[1], size[0], 3)
    return pixels.astype(int)


def test_each_kind_has_its_line() -> None:
    assert np.abs(open_jpeg() - 128).max() <= 2
    side = (slice(300, 400), slice(97, 106))  # of the left edge
    false, missed, found = (open_jpeg(color, [[100, 160, 399, 559]])[side] for color in (VERMILLION, YELLOW, GREEN))
    assert ((false[..., 0] - false[..., 2]).max(axis=1) > 80).all()  # unbroken
    yellow = (missed[..., 0] - missed[..., 2]).max(axis=1)
    assert yellow.max() > 60 > yellow.min()  # dashed
    assert ((found[..., 1] - found[..., 0]).max(axis=1) > 60).all()


def test_images_get_one_size_and_boxes_are_kept_inside() -> None:
    assert open_jpeg(shape=(2000, 1000, 3)).shape == (720, 360, 3)
    pixels = open_jpeg(VERMILLION, [[-50, -50, 5000, 5000], [10, 10, 10, 10], [290, 190, 400, 400]], (200, 300, 3))
    assert pixels.shape == (480, 720, 3)
