"""Images that show the same."""

import cv2
import numpy as np

from ssd.tools.data.near_duplicates import Look, group_looks, look_at_all, look_of


def picture(seed: int) -> np.ndarray:
    """Smooth noise, so that a smaller version shows the same: RGB uint8 (96, 128, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)
    return cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    (_, encoded) = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def test_copies_are_found_and_others_are_not() -> None:
    first = picture(0)
    copies = [cv2.resize(first, (64, 48), interpolation=cv2.INTER_AREA), jpeg(first, 40), cv2.add(first, (8, 8, 8, 0))]
    images = [picture(1), first, *copies, *map(picture, range(2, 30))]
    groups = group_looks([look_of(image) for image in images])
    assert groups.tolist() == [0, 1, 1, 1, 1, *range(5, len(images))]


def test_likeness_reaches_over_others() -> None:
    def look(num_bits: int) -> Look:
        return Look(np.arange(64) < num_bits, np.zeros(256, np.uint8))

    assert group_looks([look(0), look(30), look(12), look(6)]).tolist() == [0, 1, 0, 0]


def test_plain_images_of_different_brightness_differ() -> None:
    plain = [np.full((40, 40, 3), value, np.uint8) for value in (20, 120, 220, 222)]
    assert group_looks([look_of(image) for image in plain]).tolist() == [0, 1, 2, 2]


def test_looks_keep_the_order_and_none_are_none() -> None:
    looks = list(look_at_all(picture, 5))
    for row, look in enumerate(looks):
        assert (look.bits == look_of(picture(row)).bits).all()
    assert group_looks([]).tolist() == []
