import cv2
import numpy as np
import pytest

from ssd.tools.data.near_duplicates import find_near_duplicates, group_versions, make_thumbnail, photograph_of


def picture(seed: int) -> np.ndarray:
    """Smooth noise, so that a smaller version shows the same: RGB uint8 (96, 128, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)
    return cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC)


def groups_of(images: list[np.ndarray], **options: int) -> list[int]:
    names = [f"{row}.jpg" for row in range(len(images))]
    return group_versions(names, np.array(list(map(make_thumbnail, images))), **options).tolist()


FIRST = picture(0)
COPIES = {
    "smaller": cv2.resize(FIRST, (64, 48), interpolation=cv2.INTER_AREA),
    "jpeg": cv2.imdecode(cv2.imencode(".jpg", FIRST, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR),
    "brighter": cv2.convertScaleAbs(FIRST, alpha=1.2),
    "darker": cv2.convertScaleAbs(FIRST, alpha=0.75),
    "square": cv2.resize(FIRST, (80, 80)),
    "with a patch": cv2.rectangle(FIRST.copy(), (20, 20), (40, 35), (0, 0, 0), -1),
    **{f"turned by {90 * turns}": np.rot90(FIRST, turns) for turns in (1, 2, 3)},
    **{f"mirrored, turned by {90 * turns}": np.rot90(FIRST[:, ::-1], turns) for turns in (0, 1, 2, 3)},
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_others_are_not(name: str) -> None:
    copy = cv2.resize(np.ascontiguousarray(COPIES[name]), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    images = [picture(1), FIRST, copy, *map(picture, range(2, 30))]
    assert groups_of(images) == [0, 1, 1, *range(3, len(images))]


def test_similarity_is_transitive_and_has_a_limit() -> None:
    """Neighbours differ in two of twelve rows, 18 and 19 bits."""
    rng = np.random.default_rng(0)
    a, other, rows = (rng.integers(0, 256, (size, 12), np.uint8) for size in (12, 12, 4))
    b = np.concatenate([rows[:2], a[2:]])
    c = np.concatenate([b[:10], rows[2:]])
    names, thumbnails = [f"{number}.png" for number in range(4)], np.array([a, c, other, b])
    assert group_versions(names, thumbnails, 19).tolist() == [0, 0, 2, 0]
    assert group_versions(names, thumbnails, 18).tolist() == [0, 1, 2, 0]
    found = find_near_duplicates(np.array([a, b]), np.array([other, c, b]), 19)
    assert [(row, others.tolist()) for row, others in found] == [(0, [2]), (1, [1, 2])]


def test_plain_images_have_no_near_duplicates() -> None:
    """Even with a small object, unless it is in the same place."""
    rng = np.random.default_rng(0)
    plain = [np.full((40, 40, 3), value, np.uint8) for value in (20, 120, 120)]
    noisy = [(image + rng.integers(0, 3, image.shape)).astype(np.uint8) for image in plain]
    objects = [cv2.circle(np.full((120, 120, 3), 250, np.uint8), (x, 55), 8, (0, 0, 0), -1) for x in (25, 85, 85)]
    assert groups_of([*plain, *noisy, *objects]) == [*range(8), 7]


@pytest.mark.parametrize(
    ("name", "photograph"),
    [
        ("street_jpg.rf.5d41402abc4b2a76b9719d911017c592.jpg", "street_jpg"),
        ("a.rf.b_png.rf.Zk3aB9.png", "a.rf.b_png"),
        ("street.jpg", None),
        ("a.rf.jpg", None),
        (".rf.5d41.jpg", None),
    ],
)
def test_names_of_versions(name: str, photograph: str | None) -> None:
    assert photograph_of(name) == photograph


def test_names_group_without_pixels() -> None:
    names = ["a_jpg.rf.1.jpg", "a_jpg.jpg", "b_jpg.rf.2.jpg", "a_jpg.rf.3.jpg"]
    assert group_versions(names, None).tolist() == [0, 1, 2, 0]
    assert group_versions([], None).tolist() == []
    thumbnails = np.array([make_thumbnail(picture(seed)) for seed in (0, 1, 2, 1)])
    assert group_versions(names, thumbnails).tolist() == [0, 0, 2, 0]
