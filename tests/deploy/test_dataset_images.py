"""Images of datasets as a source, and choosing among them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ssd.config import load_config
from ssd.data import build_datasets
from ssd.deploy.dataset_images import DatasetImages, ReadImages, choose_images, first_images
from ssd.inference.sources import Frame, PendingFrame, open_source
from ssd.utils.errors import ImageError


class Numbers:
    """Images of one pixel whose value is their number; it remembers which were read."""

    def __init__(self, num_frames: int | None, length: int):
        self.num_frames = num_frames
        self.length = length
        self.read: list[int] = []

    def __iter__(self) -> Iterator[PendingFrame]:
        for number in range(self.length):
            yield PendingFrame(str(number), lambda number=number: self._read(number))

    def _read(self, number: int) -> Frame:
        self.read.append(number)
        return Frame(np.full((1, 1, 3), number, np.uint8), str(number))


def values(images: Iterator[np.ndarray]) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def test_first_images() -> None:
    numbers = Numbers(None, 5)
    assert [frame.name for frame in first_images(numbers, 3)] == ["0", "1", "2"]
    assert numbers.read == [0, 1, 2]
    assert len(first_images(numbers, 9)) == 5
    assert first_images(Numbers(0, 0), 3) == []


def test_chosen_images_are_a_function_of_the_seed() -> None:
    numbers = Numbers(100, 100)
    chosen = values(choose_images(numbers, 10, seed=0))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 10
    assert numbers.read == chosen  # the others are not even read
    assert values(choose_images(numbers, 10, seed=0)) == chosen
    assert values(choose_images(numbers, 10, seed=1)) != chosen
    assert values(choose_images(Numbers(4, 4), 10, seed=0)) == [0, 1, 2, 3]


def test_choosing_needs_a_number() -> None:
    with pytest.raises(ImageError, match="a folder, or a pattern"):
        choose_images(Numbers(None, 5), 3, seed=0)


def test_datasets(config_file: Path) -> None:
    cfg = load_config(config_file)
    (test,) = build_datasets(cfg, is_train=False)
    (training,) = build_datasets(cfg, is_train=True)
    images = DatasetImages(["test_scenes", "train_scenes"], [test, training])
    assert images.num_frames == 12
    frames = [pending.read() for pending in open_source(images)]
    assert [frame.name for frame in frames[3:5]] == ["test_scenes, image 3", "train_scenes, image 0"]
    np.testing.assert_array_equal(frames[3].image, test[3][0])
    np.testing.assert_array_equal(frames[4].image, training[0][0])


def test_read_images() -> None:
    frames = first_images(Numbers(2, 2), 2)
    source = ReadImages(frames)
    assert source.num_frames == 2
    assert [pending.read() for pending in open_source(source)] == frames
    assert [pending.name for pending in source] == ["0", "1"]
