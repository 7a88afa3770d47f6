"""Facts of a folder of annotated images, from which a training is planned. G objects of an image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssd.config import load_config
from ssd.data.datasets import DetectionDataset
from ssd.tools.data.check import check_data
from ssd.tools.data.check_report import NEAR_DUPLICATE, VERSION, DataReport
from ssd.tools.data.content import Content, Record, collect_content
from ssd.tools.data.near_duplicates import MAX_BITS
from ssd.tools.data.source import folder_overrides, open_datasets
from ssd.tools.data.split import describe_groups, group_content, split_content
from ssd.tools.priors.coverage import ImageBoxes
from ssd.utils.errors import DatasetError

TRAIN, TEST = "train", "test"  # parts of a new split
SHARES = {TRAIN: 0.8, TEST: 0.2}
_OVERLAPS = (NEAR_DUPLICATE, VERSION, "train/test overlap")


@dataclass(frozen=True)
class Facts:
    """A dataset, its split and its mistakes."""

    folder: Path  # absolute
    format_name: str
    datasets: Sequence[DetectionDataset]  # that are read, before the split
    content: Content
    train: tuple[str, ...]  # names of the parts to train on
    test: tuple[str, ...]
    entries: Mapping[str, Mapping[str, Any]] | None  # of DATASETS.CUSTOM by part; None = a new split, not written
    grouped: str  # images that a new split keeps together, in words
    num_leaks: int  # test images that are versions of training images
    num_alike: int  # images that are near duplicates of each other, where they are too many to be kept together
    num_mistakes: int  # that ssd data check lists

    def records(self, parts: Sequence[str]) -> list[Record]:
        """Return the images of some parts."""
        return [self.content.records[row] for part in parts for row in self.content.parts[part]]

    def count_objects(self, parts: Sequence[str]) -> dict[str, int]:
        """Return the number of objects of each class in some parts."""
        counts = Counter(label for record in self.records(parts) for label in record.labels.tolist())
        return {name: counts[label] for label, name in enumerate(self.content.class_names, start=1)}

    def training_boxes(self) -> list[ImageBoxes]:
        """Return the objects of the training images, relative to these."""
        images = []
        for record in self.records(self.train):
            side = np.array([record.width, record.height] * 2, dtype=np.float32)
            boxes = torch.from_numpy(np.clip(record.boxes / side, 0, 1).astype(np.float32).reshape(-1, 4))
            images.append(ImageBoxes(boxes, torch.from_numpy(record.labels)))
        return images

    @property
    def image_size(self) -> tuple[int, int]:
        """Median (height, width) of the training images in pixels."""
        sizes = np.median([(record.height, record.width) for record in self.records(self.train)], axis=0)
        return int(sizes[0]), int(sizes[1])


def read_facts(
    folder: Path, *, format_name: str | None = None, resplit: bool = False, on_error: str = "raise", seed: int = 0
) -> Facts:
    """Find, check and split the dataset in a folder; only the memory has the result.

    With ``resplit``, what has parts for training and testing is split again, by ``seed``. ``on_error`` is
    DATASETS.ON_ERROR: "skip" leaves out what is wrong.
    """
    folder = folder.resolve()
    overrides = folder_overrides(folder, format_name)
    cfg = load_config(None, overrides)
    report = check_data(cfg)
    datasets, source_format = open_datasets(str(folder), format_name=format_name, on_error=on_error)
    content = _without_bad_images(collect_content(datasets), report, on_error)
    num_mistakes = sum(problem.severity == "error" for item in report.sets for problem in item.problems)
    if not any(len(record.labels) for record in content.records):
        raise DatasetError(f"{folder}: {len(content.records)} images, and no object in any; annotate objects first")
    train, test = tuple(cfg.DATASETS.TRAIN), tuple(cfg.DATASETS.TEST)
    facts = Facts(
        folder, source_format, list(datasets.values()), content, train, test, overrides[1], "", 0, 0, num_mistakes
    )
    if test and not resplit:
        return replace(facts, num_leaks=sum(problem.kind in _OVERLAPS for problem in report.problems))
    groups = group_content(content, max_bits=MAX_BITS)
    num_alike = int(np.unique(groups, return_counts=True)[1].max())
    if num_alike > SHARES[TRAIN] * len(groups):
        facts = replace(facts, num_alike=num_alike)
        groups = group_content(content, max_bits=None)
    content = replace(content, parts=split_content(content, SHARES, seed, groups))
    grouped = describe_groups(content, groups)
    return replace(facts, content=content, train=(TRAIN,), test=(TEST,), entries=None, grouped=grouped)


def _without_bad_images(content: Content, report: DataReport, on_error: str) -> Content:
    """Leave out the images with mistakes; raise DatasetError for the first one unless ``on_error`` is "skip"."""
    problems = {
        problem.path: problem for item in report.sets for problem in item.problems if problem.severity == "error"
    }
    bad = [problems[str(record.path)] for record in content.records if str(record.path) in problems]
    if bad and on_error != "skip":
        raise DatasetError(
            f"{bad[0].message}. `ssd data check` lists {len(bad)} such image(s); remove them, or leave them out by "
            "DATASETS.ON_ERROR skip at the end of the command"
        )
    kept = [row for row, record in enumerate(content.records) if str(record.path) not in problems]
    rows = {row: index for index, row in enumerate(kept)}
    parts = {part: [rows[row] for row in old if row in rows] for part, old in content.parts.items()}
    return replace(content, records=[content.records[row] for row in kept], parts=parts)
