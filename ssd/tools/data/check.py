"""Check the datasets of a configuration, and find all mistakes, not only the first."""

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm
from yacs.config import CfgNode

from ssd.data.build import unite_class_names
from ssd.data.catalog import open_dataset
from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.datasets.policy import ErrorPolicy, describe_similar
from ssd.data.datasets.sizes import SIZE_MISMATCH, SIZE_SLIP, unreadable_kind
from ssd.tools.data.check_report import (
    DUPLICATE,
    NEAR_DUPLICATE,
    NOT_READ,
    SIMILAR,
    UNUSED,
    VERSION,
    DataReport,
    ObjectCounts,
    SetReport,
    to_problems,
)
from ssd.tools.data.near_duplicates import find_near_duplicates, make_thumbnail, photograph_of
from ssd.utils.device import available_cores, map_rows
from ssd.utils.errors import ConfigError, DatasetError, ImageError, SSDError


class CollectErrors(ErrorPolicy):
    """Raise nothing and collect all errors."""

    wants_notes = True

    def __init__(self) -> None:
        self.errors: list[DatasetError] = []

    def reject(self, error: DatasetError) -> None:
        """Collect an error."""
        self.errors.append(error)

    note = reject


class ImageFinding(NamedTuple):
    """Name, error (None = no error), digest of the pixels and thumbnail (None = not readable) of one image."""

    name: str
    error: DatasetError | None
    digest: bytes | None = None
    thumbnail: np.ndarray | None = None


def check_data(cfg: CfgNode) -> DataReport:
    """Check annotations and images of the datasets of DATASETS.TRAIN and TEST, and their overlap."""
    if not cfg.DATASETS.TRAIN and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TRAIN and DATASETS.TEST are empty; name a dataset to check in one of them")
    sets: list[SetReport] = []
    between: list[DatasetError] = []
    class_names: Sequence[str] | None = None
    earlier: dict[str, list[ImageFinding]] = {"train": [], "test": []}
    for role in ("train", "test"):
        names = dict.fromkeys(cfg.DATASETS[role.upper()])
        opened = {name: _open_set(cfg, name, role, class_names) for name in names}
        usable = {name: dataset for name, (dataset, _) in opened.items() if dataset is not None}
        if class_names is None:
            try:
                unite_class_names(list(usable), list(usable.values()))
            except ConfigError as error:
                between.append(DatasetError(str(error), kind="different classes"))
            class_names = next((dataset.class_names for dataset in usable.values()), None)
        for name, (dataset, errors) in opened.items():
            if dataset is None:
                sets.append(SetReport(name, role, 0, 0, None, to_problems(errors)))
                continue
            images = check_images(dataset, name)
            sets.append(_report_set(name, role, dataset, errors, images))
            if role == "test":
                between += _find_overlap(images, earlier["train"])
            elif earlier[role]:
                between += _find_duplicates(images, earlier[role])
            earlier[role] += images
    report = DataReport(sets, to_problems(between))
    _warn_of_classes(report)
    return report


def _report_set(
    name: str, role: str, dataset: DetectionDataset, errors: list[DatasetError], images: Sequence[ImageFinding]
) -> SetReport:
    tallies = dataset.tallies if isinstance(dataset, ArrayDataset) else []
    not_read = [DatasetError(f"{name}: {tally}", kind=NOT_READ) for tally in tallies if tally.is_loss]
    unreadable = [image.error for image in images if image.error]
    num_readable = sum(image.digest is not None for image in images)
    num_listed = getattr(dataset, "num_listed", len(images))  # a format from elsewhere may not have it
    problems = to_problems([*errors, *unreadable, *_find_duplicates(images), *not_read])
    return SetReport(name, role, num_listed, num_readable, count_objects(dataset), problems, tallies)


def _warn_of_classes(report: DataReport) -> None:
    """Add warnings of classes without objects in the training sets, or without such sets in the test sets, and of
    similar names."""
    first = next((item for item in report.sets if item.objects), None)
    if first is not None:
        unused = [name for name, count in report.totals(first.role).items() if not count]
        message = f"class {{!r}} has no object in DATASETS.{first.role.upper()}"
        errors = [DatasetError(message.format(name), field=name, kind=UNUSED) for name in unused]
        if similar := describe_similar(list(report.totals(first.role))):
            errors.append(DatasetError(similar, kind=SIMILAR))
        first.problems.extend(to_problems(errors))


def check_images(dataset: DetectionDataset, name: str) -> list[ImageFinding]:
    """Decode all images of a dataset on all cores; a terminal shows a progress bar called ``name``."""
    # A format from elsewhere need not be safe for threads: a DataLoader reads it by processes.
    num_threads = available_cores() if isinstance(dataset, ArrayDataset) else 1
    findings = map_rows(lambda row: _check_image(dataset, row), len(dataset), num_threads)
    return list(tqdm(findings, desc=name, total=len(dataset), unit="image", disable=not sys.stderr.isatty()))


def count_objects(dataset: DetectionDataset) -> ObjectCounts:
    """Count the objects of a dataset, difficult ones included."""
    labels = [dataset.get_annotation(row)[1][1].tolist() for row in range(len(dataset))]
    counts = Counter(chain.from_iterable(labels))
    by_class = {name: counts[label] for label, name in enumerate(dataset.class_names[1:], start=1)}
    return ObjectCounts(by_class, num_images_without=sum(not own for own in labels))


def _open_set(
    cfg: CfgNode, name: str, role: str, class_names: Sequence[str] | None
) -> tuple[DetectionDataset | None, list[DatasetError]]:
    """A dataset (None = cannot be used) and the errors of its annotations."""
    policy = CollectErrors()
    try:
        dataset = open_dataset(name, cfg.DATASETS.CUSTOM, policy, is_train=role == "train", class_names=class_names)
    except SSDError as error:
        path, field = getattr(error, "path", None), getattr(error, "field", "")
        return None, [*policy.errors, DatasetError(str(error), path=path, field=field, kind="unusable dataset")]
    return dataset, policy.errors


def _check_image(dataset: DetectionDataset, row: int) -> ImageFinding:
    path = dataset.image_path(row) if isinstance(dataset, ArrayDataset) else None
    name = f"image {row}" if path is None else str(path)
    try:
        image = dataset[row][0]
    except ImageError as error:
        kind = unreadable_kind(path) if path else "corrupt image"
        return ImageFinding(name, DatasetError(str(error), path=name, kind=kind))
    except DatasetError as error:
        return ImageFinding(name, error)
    # Equal for two files with the same pixels, in any format and with any metadata.
    key = str(image.shape).encode()
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=key).digest()
    thumbnail = make_thumbnail(image)
    info = dataset.get_img_info(row)
    annotated, found = (info["width"], info["height"]), (image.shape[1], image.shape[0])
    if annotated == found:
        return ImageFinding(name, None, digest, thumbnail)
    kind = SIZE_SLIP if annotated == found[::-1] else SIZE_MISMATCH
    message = f"{name}: the image is {found[0]} x {found[1]} pixels but annotated as {annotated[0]} x {annotated[1]}"
    return ImageFinding(name, DatasetError(message, path=name, kind=kind), digest, thumbnail)


def _find_duplicates(images: Sequence[ImageFinding], earlier: Sequence[ImageFinding] = ()) -> list[DatasetError]:
    """Return warnings of images with the pixels of another one, of ``earlier`` if there are such."""
    first = {image.digest: image.name for image in earlier if image.digest}
    errors = []
    for name, _, digest, _ in images:
        other = name if digest is None else first.get(digest, name)
        if digest and not earlier:
            first.setdefault(digest, name)
        if other is not name:
            same = "listed more than once" if other == name else f"the same pixels as {other}"
            errors.append(DatasetError(f"{name}: {same}", path=name, kind=DUPLICATE))
    return errors


def _find_overlap(images: Sequence[ImageFinding], earlier: Sequence[ImageFinding]) -> list[DatasetError]:
    """Return errors of test images with the pixels of a training image, and warnings of those that show the same."""
    same = {image.digest: image.name for image in earlier if image.digest}
    versions = {photograph_of(Path(image.name).name): image.name for image in earlier}
    readable = [image for image in images if image.thumbnail is not None]
    shown = [image for image in earlier if image.thumbnail is not None]
    similar = {}
    if readable and shown:
        tested, known = (np.array([image.thumbnail for image in some]) for some in (readable, shown))
        found = find_near_duplicates(tested, known)
        similar = {readable[row].name: shown[others[0]].name for row, others in found}
    errors = []
    for name, _, digest, _ in images:
        photograph = photograph_of(Path(name).name)
        if digest in same:
            message, other, kind = "has the pixels of", same[digest], "train/test overlap"
        elif photograph in versions and photograph is not None:
            message, other, kind = "is a version of", versions[photograph], VERSION
        elif name in similar:
            message, other, kind = "is a near duplicate of", similar[name], NEAR_DUPLICATE
        else:
            continue
        errors.append(DatasetError(f"{name}, a test image, {message} {other}", path=name, kind=kind))
    return errors
