import cv2
import numpy as np
import pytest

from ssd.tools.data.split import divide, group_near_duplicates, hash_image, parse_parts
from ssd.utils.errors import ConfigError

SHARES = {"train": 0.8, "test": 0.2}


def images(counts: dict[int, int]) -> list[np.ndarray]:
    """So many images with one object of each label; label 0: without objects."""
    return [np.array([label] if label else [], np.int64) for label, count in counts.items() for _ in range(count)]


def divided(labels: list[np.ndarray], seed: int = 0, groups=None, shares=SHARES) -> dict[str, list[int]]:
    names = [f"{row}.jpg" for row in range(len(labels))]
    return divide(names, labels, np.arange(len(labels)) if groups is None else groups, shares, seed)


def count(labels: list[np.ndarray], rows: list[int]) -> dict[int, int]:
    found = [int(labels[row][0]) if len(labels[row]) else 0 for row in rows]
    return {label: found.count(label) for label in sorted(set(found))}


@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_divided_by_the_shares(seed: int) -> None:
    labels = images({0: 10, 1: 200, 2: 20, 3: 5})
    parts = divided(labels, seed)
    assert count(labels, parts["train"]) == {0: 8, 1: 160, 2: 16, 3: 4}
    assert sorted(parts["train"] + parts["test"]) == list(range(len(labels)))


def test_images_with_several_classes() -> None:
    rng = np.random.default_rng(0)
    labels = [np.unique(rng.choice([1, 1, 1, 2, 2, 3], size=rng.integers(1, 4))) for _ in range(300)]
    parts = divided(labels)
    for label in (1, 2, 3):
        shares = [np.mean([label in labels[row] for row in rows]) for rows in parts.values()]
        assert shares[0] == pytest.approx(shares[1], abs=0.06)


def test_the_seed_and_the_names_alone_decide_on_every_machine() -> None:
    labels = images({1: 30, 2: 20})
    names, rows = [f"{row}.jpg" for row in range(50)], np.arange(50)
    first = divided(labels)
    assert divided(labels, 1) != first
    back = divide(names[::-1], labels[::-1], rows, SHARES, 0)
    assert {names[::-1][row] for row in back["test"]} == {names[row] for row in first["test"]}
    assert divide(names[:10], labels[:10], rows[:10], SHARES, 0)["test"] == [5, 9]


def test_groups_stay_together() -> None:
    labels = images({1: 60, 2: 40})
    groups = np.arange(100) // 4
    parts = divided(labels, 3, groups)
    assert not {int(groups[row]) for row in parts["train"]} & {int(groups[row]) for row in parts["test"]}
    assert len(parts["test"]) == 20


def test_any_number_of_parts_and_images() -> None:
    labels = images({1: 100})
    parts = divided(labels, shares={"a": 0.7, "b": 0.2, "c": 0.1})
    assert {part: len(found) for part, found in parts.items()} == {"a": 70, "b": 20, "c": 10}
    assert divided(labels, shares={"all": 1.0}) == {"all": list(range(100))}
    assert divided([]) == {"train": [], "test": []}


@pytest.mark.parametrize(
    "text", ["", "train", "train=1,train=0", "a=0.5,b=0.6", "a=nan,b=0.5", "../a=0.5,b=0.5", "a=1.5"]
)
def test_parts_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="--parts"):
        parse_parts(text)


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
    groups = group_near_duplicates([hash_image(image) for image in images])
    assert groups.tolist() == [0, 1, 1, 1, 1, *range(5, len(images))]


def test_similarity_is_transitive() -> None:
    def hash_of(num_bits: int) -> np.ndarray:
        return (np.arange(64 + 256) < num_bits).astype(np.uint8)

    assert group_near_duplicates([hash_of(0), hash_of(30), hash_of(12), hash_of(6)]).tolist() == [0, 1, 0, 0]


def test_plain_images_of_different_brightness_differ() -> None:
    plain = [np.full((40, 40, 3), value, np.uint8) for value in (20, 120, 220, 222)]
    assert group_near_duplicates([hash_image(image) for image in plain]).tolist() == [0, 1, 2, 2]
    assert group_near_duplicates([]).tolist() == []
