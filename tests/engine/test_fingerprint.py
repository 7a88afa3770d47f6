"""Whether a dataset is still the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ssd.data.datasets import VOCDataset
from ssd.engine.manifest import fingerprint

IMAGES = {"a": [("dog", (5, 5, 20, 25)), ("cat", (1, 1, 9, 9), 1)], "b": []}


def test_counts_and_digest(write_voc) -> None:
    root = write_voc(IMAGES)
    found = fingerprint(VOCDataset(root, "train"))
    assert (found["num_images"], found["num_objects"]) == (2, 2)
    assert len(str(found["digest"])) == 32
    assert fingerprint(VOCDataset(root, "train")) == found


def test_the_place_does_not_matter_nor_what_it_is_used_for(write_voc, tmp_path: Path) -> None:
    root = write_voc(IMAGES)
    shutil.copytree(root, tmp_path / "copy")
    expected = fingerprint(VOCDataset(root, "train"))
    assert fingerprint(VOCDataset(tmp_path / "copy", "train", keep_difficult=True)) == expected


CHANGES = {
    "a box": {**IMAGES, "a": [("dog", (5, 5, 20, 26)), ("cat", (1, 1, 9, 9), 1)]},
    "a class": {**IMAGES, "a": [("cat", (5, 5, 20, 25)), ("dog", (1, 1, 9, 9), 1)]},
    "a name of a class": {**IMAGES, "a": [("fox", (5, 5, 20, 25)), ("cat", (1, 1, 9, 9), 1)]},
    "difficult": {**IMAGES, "a": [("dog", (5, 5, 20, 25)), ("cat", (1, 1, 9, 9), 0)]},
    "an object more": {**IMAGES, "b": [("dog", (5, 5, 20, 25))]},
    "an image more": {**IMAGES, "c": []},
    "the order": dict(reversed(IMAGES.items())),
    "an id": {"a": IMAGES["a"], "x": []},
}


@pytest.mark.parametrize("images", CHANGES.values(), ids=list(CHANGES))
def test_a_change_shows(write_voc, images: dict) -> None:
    before = fingerprint(VOCDataset(write_voc(IMAGES, root="before"), "train"))
    assert fingerprint(VOCDataset(write_voc(images, root="after"), "train"))["digest"] != before["digest"]


def test_another_or_a_missing_file_shows(write_voc) -> None:
    root = write_voc(IMAGES)
    dataset = VOCDataset(root, "train")
    digests = {fingerprint(dataset)["digest"]}
    path = root / "JPEGImages" / "b.png"
    path.write_bytes(path.read_bytes() + b"\0")
    digests.add(fingerprint(dataset)["digest"])
    path.unlink()
    digests.add(fingerprint(dataset)["digest"])
    assert len(digests) == 3
    assert fingerprint(dataset)["num_images"] == 2


class FromElsewhere:
    """A set that tells no files."""

    class_names = ("__background__", "thing")
    metric = "voc"

    def __init__(self, last: float):
        self.last = last

    def __len__(self) -> int:
        return 3

    def get_annotation(self, index: int):
        return index, (np.array([[0, 0, 5, self.last]]), np.array([1]))

    def get_img_info(self, index: int):
        return {"width": 10, "height": 10}


def test_a_format_from_elsewhere() -> None:
    digests = [fingerprint(FromElsewhere(last))["digest"] for last in (5.0, 5.0, 6.0)]  # type: ignore[arg-type]
    assert digests[0] == digests[1] != digests[2]
