"""The batch of an iteration, made once more."""

import numpy as np
import pytest
import torch

from ssd.data import build_datasets, make_train_loader
from ssd.data.replay import BatchReplay


@pytest.fixture
def cfg(write_voc, make_cfg):
    """Two sets of five and two images, of which one has no object."""
    one = write_voc({f"a{i}": [("dog", (5, 5, 20 + i, 25))] for i in range(5)}, root="one")
    two = write_voc({"b0": [], "b1": [("dog", (1, 1, 9, 9)), ("dog", (11, 1, 39, 29))]}, root="two")
    sets = {name: {"FORMAT": "voc", "ROOT": str(root), "SPLIT": "train"} for name, root in (("one", one), ("two", two))}
    return make_cfg(sets, **{"DATASETS.TRAIN": ("one", "two"), "SOLVER.SEED": 7})


@pytest.mark.parametrize("world_size", [1, 2])
def test_it_is_what_all_processes_saw(cfg, world_size: int) -> None:
    datasets = build_datasets(cfg, is_train=True)
    loaders = [make_train_loader(cfg, datasets, rank=rank, world_size=world_size) for rank in range(world_size)]
    replay = BatchReplay(loaders[-1], cfg.DATASETS.TRAIN, datasets)
    for iteration, parts in enumerate(zip(*loaders, strict=True), start=1):
        batch = replay(iteration)
        assert torch.equal(batch.images, torch.cat([images for images, _, _ in parts]))
        areas = torch.cat([targets["valid_area"] for _, targets, _ in parts])
        assert torch.equal(batch.targets["valid_area"], areas)
        labels = torch.cat([targets["labels"].sum(dim=1) for _, targets, _ in parts])
        assert torch.equal(batch.targets["labels"].sum(dim=1), labels)
        boxes = torch.cat([targets["boxes"].sum(dim=1) for _, targets, _ in parts])
        torch.testing.assert_close(batch.targets["boxes"].sum(dim=1), boxes)
        names = [f"a{index}" if index < 5 else f"b{index - 5}" for index in torch.cat([ids for *_, ids in parts])]
        assert batch.image_ids == names
        assert batch.datasets == ["one" if name.startswith("a") else "two" for name in names]
        assert batch.seed == 7


def test_a_continued_run_asks_for_its_own_iterations(cfg) -> None:
    datasets = build_datasets(cfg, is_train=True)
    first = BatchReplay(make_train_loader(cfg, datasets), cfg.DATASETS.TRAIN, datasets)
    later = BatchReplay(make_train_loader(cfg, datasets, 3), cfg.DATASETS.TRAIN, datasets)
    assert torch.equal(first(5).images, later(5).images)
    assert not torch.equal(first(5).images, later(6).images)


def test_ids_are_plain_numbers_or_text(write_coco, make_cfg) -> None:
    """A checkpoint takes nothing else."""
    images = [{"id": 70 + i, "file_name": f"{i}.png"} for i in range(4)]
    folder, ann_file = write_coco({"images": images, "annotations": [], "categories": [{"id": 1, "name": "dog"}]})
    entry = {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(ann_file)}
    cfg = make_cfg({"set": entry}, **{"DATASETS.TRAIN": ("set",)})
    datasets = build_datasets(cfg, is_train=True)
    replay = BatchReplay(make_train_loader(cfg, datasets), ("set",), datasets)
    assert sorted(replay(1).image_ids) == [70, 71, 72, 73]
    assert {type(image_id) for image_id in replay(1).image_ids} == {int}
    get_annotation = datasets[0].get_annotation
    datasets[0].get_annotation = lambda row: (np.int64(get_annotation(row)[0]), get_annotation(row)[1])  # as elsewhere
    assert {type(image_id) for image_id in replay(1).image_ids} == {int}
