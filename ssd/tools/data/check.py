"""Check the datasets of a configuration, and find all mistakes, not only the first."""

import hashlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm
from yacs.config import CfgNode

from ssd.data.catalog import open_dataset
from ssd.data.class_names import unite_class_names
from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.datasets.checks import CLIPPED
from ssd.data.datasets.sizes import SIZE_MISMATCH, SIZE_SLIP, unreadable_kind
from ssd.data.reader import TwoPartDataset
from ssd.tools.data.check_report import QUANTILES, DataReport, ObjectCounts, Problem, SetReport
from ssd.tools.data.near_duplicates import map_rows
from ssd.utils.cores import available_cores
from ssd.utils.errors import ConfigError, DatasetError, ImageError, SSDError

_DUPLICATE = "duplicate image"
_WARNINGS = (_DUPLICATE, SIZE_SLIP, f"box {CLIPPED}")  # training and evaluation handle these


class ImageFinding(NamedTuple):
    """Name and problem of one image, and the digest of its pixels; None = it has none."""

    name: str
    digest: bytes | None
    problem: Problem | None


class CollectErrors:
    """An ``ErrorPolicy`` that raises nothing and collects all errors in ``problems``."""

    reads_headers = False  # all images are decoded later
    wants_notes = True

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def reject(self, error: SSDError) -> None:
        """Collect an error."""
        if isinstance(error, DatasetError):
            self.problems.append(_problem(error.kind, error, error.path or "", error.field))
        else:
            self.problems.append(_problem("unusable dataset", error))

    note = reject


def check_data(cfg: CfgNode) -> DataReport:
    """Check annotations and images of the datasets of DATASETS.TRAIN and TEST, and their overlap.

    Raises:
        ConfigError: the configuration names no dataset.
    """
    if not cfg.DATASETS.TRAIN and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TRAIN and DATASETS.TEST are empty; name a dataset to check in one of them")
    between: list[Problem] = []
    sets: list[SetReport] = []
    class_names: Sequence[str] | None = None
    trained: dict[bytes, str] = {}  # digest -> name
    for role in ("train", "test"):
        names = list(dict.fromkeys(cfg.DATASETS[role.upper()]))
        policies = {name: CollectErrors() for name in names}
        opened = {name: _open(cfg, name, role, class_names, policies[name]) for name in names}
        usable = {name: dataset for name, dataset in opened.items() if dataset is not None}
        if class_names is None:
            try:
                unite_class_names(list(usable), list(usable.values()))
            except ConfigError as error:
                between.append(_problem("different classes", error))
            class_names = next((dataset.class_names for dataset in usable.values()), None)
        for name, dataset in opened.items():
            report, images = _check_set(name, role, dataset, policies[name].problems)
            sets.append(report)
            if role == "train":
                trained.update({image.digest: image.name for image in images if image.digest})
            else:
                between += _find_overlap(images, trained)
    return DataReport(sets, between)


def check_images(dataset: DetectionDataset, name: str) -> list[ImageFinding]:
    """Decode all images of a dataset on all cores; a terminal shows a progress bar called ``name``."""
    # A format from elsewhere need not be safe for threads: a DataLoader reads it by processes.
    num_threads = available_cores() if isinstance(dataset, ArrayDataset) else 1
    findings = map_rows(lambda row: _check_image(dataset, row), len(dataset), num_threads)
    return list(tqdm(findings, desc=name, total=len(dataset), unit="image", disable=not sys.stderr.isatty()))


def count_objects(dataset: DetectionDataset) -> ObjectCounts:
    """Count and measure the objects of a dataset, difficult ones included."""
    num_classes = len(dataset.class_names)
    objects, images = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    num_without = 0
    extents, sizes = [np.empty((0, 2))], [np.empty((0, 2))]
    for row in range(len(dataset)):
        _, (boxes, labels, *_) = dataset.get_annotation(row)
        info = dataset.get_img_info(row)
        counts = np.bincount(labels, minlength=num_classes)
        objects += counts
        images += counts > 0
        num_without += len(labels) == 0
        extents.append(boxes[:, 2:] - boxes[:, :2])
        sizes.append(np.full((len(boxes), 2), (info["width"], info["height"])))
    extent, size = np.concatenate(extents).astype(np.float64), np.concatenate(sizes)
    names = dataset.class_names[1:]
    return ObjectCounts(
        by_class=dict(zip(names, objects[1:].tolist(), strict=True)),
        images_by_class=dict(zip(names, images[1:].tolist(), strict=True)),
        num_images_without=num_without,
        widths=_quantiles(extent[:, 0]),
        heights=_quantiles(extent[:, 1]),
        sides=_quantiles(np.sqrt((extent / size).prod(axis=1))),
    )


def _quantiles(values: np.ndarray) -> tuple[float, ...] | None:
    return tuple(np.quantile(values, QUANTILES).tolist()) if len(values) else None


def _problem(kind: str, message: object, path: str = "", field: str = "") -> Problem:
    return Problem("warning" if kind in _WARNINGS else "error", kind, path, field, str(message))


def _open(
    cfg: CfgNode, name: str, role: str, class_names: Sequence[str] | None, policy: CollectErrors
) -> DetectionDataset | None:
    try:
        return open_dataset(name, cfg.DATASETS.CUSTOM, policy, is_train=role == "train", class_names=class_names)
    except SSDError as error:
        path = (error.path or "") if isinstance(error, DatasetError) else ""
        field = error.field if isinstance(error, DatasetError) else ""
        policy.problems.append(_problem("unusable dataset", error, path, field))
        return None


def _check_set(
    name: str, role: str, dataset: DetectionDataset | None, problems: list[Problem]
) -> tuple[SetReport, list[ImageFinding]]:
    if dataset is None:
        return SetReport(name, role, 0, 0, None, problems), []
    images = check_images(dataset, name)
    problems = [*problems, *(image.problem for image in images if image.problem), *_find_duplicates(images)]
    num_listed = getattr(dataset, "num_listed", len(images))  # a format from elsewhere may not have it
    num_readable = sum(image.digest is not None for image in images)
    return SetReport(name, role, num_listed, num_readable, count_objects(dataset), problems), images


def _check_image(dataset: DetectionDataset, row: int) -> ImageFinding:
    path = dataset.image_path(row) if isinstance(dataset, ArrayDataset) else None
    name = f"image {row}" if path is None else str(path)
    try:
        image = dataset.read_image(row)[0] if isinstance(dataset, TwoPartDataset) else dataset[row][0]
    except ImageError as error:
        return ImageFinding(name, None, _problem(unreadable_kind(path) if path else "corrupt image", error, name))
    except DatasetError as error:
        return ImageFinding(name, None, _problem(error.kind, error, error.path or "", error.field))
    info = dataset.get_img_info(row)
    annotated, found = (info["width"], info["height"]), (image.shape[1], image.shape[0])
    problem = None
    if annotated != found:
        kind = SIZE_SLIP if annotated == found[::-1] else SIZE_MISMATCH
        message = f"the image is {found[0]} x {found[1]} pixels but annotated as {annotated[0]} x {annotated[1]}"
        problem = _problem(kind, f"{name}: {message}", name)
    # Equal for two files with the same pixels, in any format and with any metadata.
    key = str(image.shape).encode()
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=key).digest()
    return ImageFinding(name, digest, problem)


def _find_duplicates(images: Sequence[ImageFinding]) -> list[Problem]:
    """A problem for each image with the pixels of an earlier one."""
    first: dict[bytes, str] = {}
    problems = []
    for name, digest, _ in images:
        if digest is None:
            continue
        earlier = first.setdefault(digest, name)
        if earlier is not name:
            same = "listed more than once" if earlier == name else f"the same pixels as {earlier}"
            problems.append(_problem(_DUPLICATE, f"{name}: {same}", name))
    return problems


def _find_overlap(images: Sequence[ImageFinding], trained: dict[bytes, str]) -> list[Problem]:
    """Test images with the pixels of a training image; equal file names are no proof."""
    return [
        _problem(
            "train/test overlap",
            f"{image.name}, to be tested on, has the pixels of {trained[image.digest]}",
            image.name,
        )
        for image in images
        if image.digest in trained
    ]
