"""Images for the checks, and average precision."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ssd.config import load_config
from ssd.data import build_datasets
from ssd.deploy.checks import choose_images, dataset_images, first_images, measure_accuracy
from ssd.inference.predictor import Predictor
from ssd.inference.sources import Frame, PendingFrame, open_source
from ssd.structures import Container
from ssd.utils.errors import ImageError

SIZE = (24, 32)  # of the network, a quarter of that of the scenes


class Numbers:
    """Images of one pixel whose value is their number; it records which were read."""

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
    assert (chosen, len(chosen)) == (sorted(set(chosen)), 10)
    assert numbers.read == chosen  # the others are not read
    assert values(choose_images(numbers, 10, seed=0)) == chosen
    assert values(choose_images(numbers, 10, seed=1)) != chosen
    assert values(choose_images(Numbers(4, 4), 10, seed=0)) == [0, 1, 2, 3]
    with pytest.raises(ImageError, match="--images"):
        choose_images(Numbers(None, 5), 3, seed=0)


def test_images_of_datasets(config_file) -> None:
    cfg = load_config(config_file)
    (test,) = build_datasets(cfg, is_train=False)
    (training,) = build_datasets(cfg, is_train=True)
    images = dataset_images({"test_scenes": test, "train_scenes": training})
    assert images.num_frames == 12
    frames = [pending.read() for pending in open_source(images)]
    assert [frame.name for frame in frames[3:5]] == ["test_scenes, image 3", "train_scenes, image 0"]
    np.testing.assert_array_equal(frames[3].image, test[3][0])
    np.testing.assert_array_equal(frames[4].image, training[0][0])


def test_average_precision_of_the_ground_truth(config_file) -> None:
    """The detector finds all objects of the first two scenes of four, and nothing else: precision 1."""
    (dataset,) = build_datasets(load_config(config_file), is_train=False)
    annotations = iter([dataset.get_annotation(index)[1] for index in range(2)])
    batches = []

    def network(images: Tensor) -> list[Container]:
        batches.append(len(images))
        found = []
        for _ in images:
            boxes, labels, *_ = next(annotations, (np.zeros((0, 4)), np.zeros(0, np.int64)))
            boxes, labels = torch.from_numpy(boxes).float() / 4, torch.from_numpy(labels)
            found.append(Container(boxes=boxes, labels=labels, scores=torch.ones(len(labels))))
            found[-1].img_height, found[-1].img_width = SIZE
        return found

    predictor = Predictor(network, SIZE, dataset.class_names)
    result = measure_accuracy(predictor, dataset, metric="auto", batch_size=3)
    assert (batches, result.metric) == ([3, 1], "voc")

    counts = {label: [0, 0] for label in range(1, len(dataset.class_names))}
    for index in range(4):
        _, labels, is_difficult = dataset.get_annotation(index)[1]
        for label in labels[~is_difficult].tolist():
            counts[label][0] += 1
            counts[label][1] += index < 2
    recalls = [found / objects for objects, found in counts.values() if objects]
    assert result.main == pytest.approx(sum(recalls) / len(recalls))
