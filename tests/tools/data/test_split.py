import numpy as np
import pytest

from ssd.tools.data.split import choose_roles, divide, order_parts, parse_parts
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
    assert divide(names[:10], labels[:10], rows[:10], SHARES, 0)["test"] == [6, 9]


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_of_images_where_some_are_crowded(seed: int) -> None:
    """Few images have most of the objects, and the third class is rare."""
    rng = np.random.default_rng(seed)
    counts = np.minimum(300, 3 * rng.pareto(1.1, 289)).astype(int)
    labels = [rng.choice([1, 2, 3], size=count, p=[0.9, 0.08, 0.02]) for count in counts]
    parts = divided(labels, seed, shares={"train": 0.7, "val": 0.1, "test": 0.2})
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 202, "val": 29, "test": 58}
    objects = [np.bincount(np.concatenate([labels[row] for row in rows]))[1:] for rows in parts.values()]
    assert objects[2] / np.sum(objects, axis=0) == pytest.approx([0.2, 0.2, 0.2], abs=0.05)


@pytest.mark.parametrize(
    ("sizes", "num_test"), [([4] * 25, 20), ([3] * 30, 18), ([50, 7, 7, *[1] * 36], 20), ([9, 1], 1)]
)
def test_groups_stay_together(sizes: list[int], num_test: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = images({1: len(groups) // 2, 2: len(groups) - len(groups) // 2})
    parts = divided(labels, 3, groups)
    assert not {int(groups[row]) for row in parts["train"]} & {int(groups[row]) for row in parts["test"]}
    assert len(parts["test"]) == num_test


def test_any_number_of_parts_and_images() -> None:
    labels = images({1: 100})
    parts = divided(labels, shares={"a": 0.7, "b": 0.2, "c": 0.1})
    assert {part: len(found) for part, found in parts.items()} == {"a": 70, "b": 20, "c": 10}
    assert divided(labels, shares={"all": 1.0}) == {"all": list(range(100))}
    few = divided(images({1: 3}), shares={"a": 0.9, "b": 0.06, "c": 0.04})
    assert {part: len(found) for part, found in few.items()} == {"a": 1, "b": 1, "c": 1}
    assert divided([]) == {"train": [], "test": []}


@pytest.mark.parametrize(
    "text", ["", "train", "train=1,train=0", "a=0.5,b=0.6", "a=nan,b=0.5", "../a=0.5,b=0.5", "a=1.5"]
)
def test_parts_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="--parts"):
        parse_parts(text)


@pytest.mark.parametrize(
    ("parts", "order"),
    [
        ({"test": [5], "train": [0, 1], "valid": [2]}, ["train", "valid", "test"]),
        ({"custom_val": [0, 1, 2], "custom_train": [3]}, ["custom_train", "custom_val"]),
        ({"test": [3], "train": [0], "trainval": [0, 1, 2], "val": [1, 2]}, ["trainval", "test", "val", "train"]),
        ({"train": [0], "trainval": [0, 1, 2], "val": [1, 2]}, ["train", "val", "trainval"]),
        ({"b": [0], "a": [1, 2]}, ["a", "b"]),
        ({"train": [0, 1], "test": [1]}, []),
        ({"all": [0, 1]}, []),
    ],
)
def test_a_division_that_exists(parts: dict[str, list[int]], order: list[str]) -> None:
    assert list(order_parts(parts)) == order


@pytest.mark.parametrize(
    ("parts", "train", "test"),
    [
        ({"test": "ef", "train": "ab", "trainval": "abcd", "val": "cd"}, "trainval", "test"),
        ({"test": "ef", "train": "ab", "val": "cd"}, "train", "val test"),
        ({"train": "abc", "val": "cd", "test": "ef"}, "train", "test val"),  # the overlap of val is not hidden
        ({"train": "ab", "trainval": "abcd", "val": "cd", "test": "de"}, "train", "val test"),
        ({"train": "ab", "val": "ab"}, "train", "val"),
        ({"train": "ab", "val": "", "extra": "b"}, "train", "val"),  # val cannot be read
        ({"all": "ab"}, "all", ""),
        ({"val": "ab", "test": "cd"}, "val test", ""),
        ({"custom_train": "abc", "custom_val": "de"}, "custom_train", "custom_val"),
        ({"valley": "abc", "forest": "de"}, "valley forest", ""),
    ],
)
def test_the_parts_that_are_read(parts: dict[str, str], train: str, test: str) -> None:
    """Those whose images are in other parts already are not."""
    found = choose_roles({part: set(letters) for part, letters in parts.items()})
    assert found == (train.split(), test.split())
