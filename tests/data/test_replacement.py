"""Damaged images in training: replaced, as a function of (seed, position) alone."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssd.config import Config
from ssd.data import build_datasets, make_train_loader
from ssd.data.datasets import VOCDataset
from ssd.data.samplers import IterationSampler, Replacement
from ssd.data.samples import TrainingSample, TrainingSamples, collate_training
from ssd.structures import Container
from ssd.utils.errors import DatasetError, ImageError

DAMAGED = (2, 5)


@pytest.fixture
def dataset(write_voc: Callable[..., Path]) -> VOCDataset:
    """Eight images, of which one is cut short and one is of another size than annotated."""
    root = write_voc({f"{i}": [("cat", (1, 1, 9, 9))] for i in range(8)}, suffix=".jpg")
    path = root / "JPEGImages/2.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    other = root / "Annotations/5.xml"
    other.write_text(other.read_text().replace("<width>40<", "<width>50<"))
    return VOCDataset(root, "train")


def samples_of(dataset: object, **options: bool) -> TrainingSamples:
    return TrainingSamples([dataset], (24, 32), seed=3, **options)  # type: ignore[list-item]


def assert_same(one: TrainingSample, two: TrainingSample) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_is_an_error_unless_it_is_to_be_skipped(dataset: VOCDataset) -> None:
    with pytest.raises(ImageError, match=r"2\.jpg"):
        samples_of(dataset)[2, 0]
    with pytest.raises(DatasetError, match="annotated as 50 x 30"):
        samples_of(dataset)[5, 0]


def test_a_replacement_is_that_sample_at_that_position(dataset: VOCDataset) -> None:
    lenient, strict = samples_of(dataset, skip_bad=True), samples_of(dataset)
    shown = Counter()
    for position in range(60):
        for index in range(8):
            sample = lenient[index, position]
            shown[index, sample.sample_id] += 1
            assert_same(sample, strict[sample.sample_id, position])  # sound, and augmented by the position
    assert all(index == found for index, found in shown if index not in DAMAGED)
    for index in DAMAGED:
        assert {found for wanted, found in shown if wanted == index} == {0, 1, 3, 4, 6, 7}


def test_the_replacement_depends_on_nothing_else(dataset: VOCDataset) -> None:
    """Not on what was read before, nor on how many are asked for at a time."""
    keys = [(DAMAGED[position % 2], position) for position in range(20)]
    one, two = samples_of(dataset, skip_bad=True), samples_of(dataset, skip_bad=True)
    for batch, key in zip(one.__getitems__(keys), reversed(list(map(two.__getitem__, reversed(keys)))), strict=True):
        assert_same(batch, key)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_see_the_same_stream_and_share_the_count(dataset: VOCDataset, num_workers: int) -> None:
    samples = samples_of(dataset, skip_bad=True)
    sampler = IterationSampler(8, 4, max_iter=8, seed=3)
    loader = DataLoader(
        samples,
        batch_sampler=sampler,
        collate_fn=collate_training,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
    expected = samples_of(dataset, skip_bad=True)
    for (images, targets, ids), keys in zip(loader, sampler, strict=True):
        wanted_images, wanted_targets, wanted_ids = collate_training(expected.__getitems__(keys))
        assert torch.equal(images, wanted_images)
        assert torch.equal(targets["boxes"], wanted_targets["boxes"])
        assert torch.equal(ids, wanted_ids)
        assert not set(ids.tolist()) & set(DAMAGED)
    assert samples._replacement is not None
    assert samples._replacement.count == 2


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_the_config_decides(dataset: VOCDataset, make_cfg: Callable[..., Config], on_error: str) -> None:
    """Skipping, the image of another size is left out as the set is built, the one cut short when it is met."""
    custom = {"cells": {"FORMAT": "voc", "ROOT": str(dataset.data_dir), "SPLIT": "train"}}
    cfg = make_cfg(custom, **{"DATASETS.TRAIN": ("cells",), "DATASETS.ON_ERROR": on_error})
    datasets = build_datasets(cfg, is_train=True)
    loader = make_train_loader(cfg, datasets)
    if on_error == "raise":
        assert len(datasets[0]) == 8
        with pytest.raises((DatasetError, ImageError)):
            list(loader)
    else:
        assert len(datasets[0]) == 7
        shown = {index for _, _, ids in loader for index in ids.tolist()}
        assert shown == {0, 1, 3, 4, 5, 6}


def test_sets_that_come_whole_are_replaced_too() -> None:
    class Whole:
        class_names = ("__background__", "thing")

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple:
            if index == 1:
                raise ImageError("1.png: damaged")
            boxes = np.array([[1, 1, 5, 5]], np.float32)
            return np.full((8, 8, 3), index, np.uint8), Container(boxes=boxes, labels=np.array([1])), index

    lenient, strict = samples_of(Whole(), skip_bad=True), samples_of(Whole())
    for position in range(10):
        (sample,) = lenient.__getitems__([(1, position)])
        assert_same(sample, strict[sample.sample_id, position])


def test_each_damaged_sample_is_named_once_and_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    replacement = Replacement(500, seed=0)
    with caplog.at_level(logging.WARNING):
        for index in [*range(120), *range(120)]:
            replacement.report(index, ImageError(f"{index}.png: damaged"))
    messages = [record.getMessage() for record in caplog.records]
    assert replacement.count == 120
    assert len(messages) == 5 + 2
    assert messages[0] == "Damaged sample, another is trained on in its place: 0.png: damaged"
    assert messages[5:] == [
        "10 damaged samples so far, of 500; the last: 9.png: damaged",
        "100 damaged samples so far, of 500; the last: 99.png: damaged",
    ]


def test_replacements_are_spread_evenly() -> None:
    replacement = Replacement(10, seed=7)
    drawn = Counter(replacement.draw(position, 0, ImageError("")) for position in range(5000))
    assert sorted(drawn) == list(range(10))
    assert min(drawn.values()) > 400  # 500 expected, deviation 21
    assert len({replacement.draw(9, attempt, ImageError("")) for attempt in range(50)}) > 5


def test_if_all_are_damaged_it_ends() -> None:
    class Damaged:
        class_names = ("__background__", "thing")

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple:
            raise ImageError(f"{index}.png: damaged")

    with pytest.raises(DatasetError, match=r"100 samples that were drawn in place .* the last: \d\.png: damaged"):
        samples_of(Damaged(), skip_bad=True)[0, 0]
