"""The formats of datasets by name, and the factories of the built-in ones."""

import os
from collections.abc import Sequence

from ssd.data.datasets.checks import check_class_names
from ssd.data.datasets.coco import COCODataset
from ssd.data.datasets.csv_table import CSVDataset
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.data.datasets.voc import VOCDataset
from ssd.data.datasets.yolo import YOLODataset
from ssd.utils.errors import ConfigError, DatasetError
from ssd.utils.registry import Registry

# Contract: factory(**arguments, is_train, class_names) -> DetectionDataset. All parameters are keyword-only; those
# besides the last two are keys of the entry, in upper case there, optional if they have a default. ``class_names``
# (background first) fixes the labels; None leaves them to the entry or the annotations. A factory that also has a
# parameter ``policy`` gets what decides about mistakes in the data, an ErrorPolicy; without it they are raised.
DATASET_FORMATS = Registry("dataset format")

METRICS = ("voc07", "voc", "coco")


@DATASET_FORMATS.register("voc")
def make_voc_dataset(
    *,
    root: str,
    split: str | None = None,
    images: str = "JPEGImages",
    annotations: str = "Annotations",
    classes: Sequence[str] | None = None,
    metric: str = "voc",
    is_train: bool,
    class_names: Sequence[str] | None,
    policy: ErrorPolicy = RAISE_ERRORS,
) -> VOCDataset:
    """Build a set in VOC layout; difficult objects are left out of training and kept for testing.

    IMAGES and ANNOTATIONS are folders in ROOT; without SPLIT all annotations are read.
    """
    return VOCDataset(
        checked_path("ROOT", root),
        None if split is None else str(split),
        class_names=class_names or _with_background(classes),
        keep_difficult=not is_train,
        metric=_checked_metric(metric),
        policy=policy,
        images=checked_path("IMAGES", images),
        annotations=checked_path("ANNOTATIONS", annotations),
    )


@DATASET_FORMATS.register("coco")
def make_coco_dataset(
    *,
    images: str,
    annotations: str,
    classes: Sequence[str] | None = None,
    metric: str = "coco",
    is_train: bool,
    class_names: Sequence[str] | None,
    policy: ErrorPolicy = RAISE_ERRORS,
) -> COCODataset:
    """Build a set in COCO format, the same for training and testing."""
    names = class_names or _with_background(classes)
    images, annotations = checked_path("IMAGES", images), checked_path("ANNOTATIONS", annotations)
    return COCODataset(images, annotations, class_names=names, metric=_checked_metric(metric), policy=policy)


@DATASET_FORMATS.register("yolo")
def make_yolo_dataset(
    *,
    root: str,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    metric: str = "voc",
    is_train: bool,
    class_names: Sequence[str] | None,
    policy: ErrorPolicy = RAISE_ERRORS,
) -> YOLODataset:
    """Build a set in YOLO's layout, the same for training and testing; ROOT is its folder or its data.yaml."""
    names = class_names or _with_background(classes)
    root, split = checked_path("ROOT", root), None if split is None else str(split)
    return YOLODataset(root, split, class_names=names, metric=_checked_metric(metric), policy=policy)


@DATASET_FORMATS.register("csv")
def make_csv_dataset(
    *,
    annotations: str,
    images: str | None = None,
    classes: Sequence[str] | None = None,
    metric: str = "voc",
    is_train: bool,
    class_names: Sequence[str] | None,
    policy: ErrorPolicy = RAISE_ERRORS,
) -> CSVDataset:
    """Build a set from a table, the same for training and testing; IMAGES is the table's folder unless it is given."""
    names = class_names or _with_background(classes)
    annotations = checked_path("ANNOTATIONS", annotations)
    folder = None if images is None else checked_path("IMAGES", images)
    return CSVDataset(annotations, folder, class_names=names, metric=_checked_metric(metric), policy=policy)


def _with_background(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if isinstance(classes, str):
        raise ConfigError(f"CLASSES must be a list of names, got {classes!r}; write [{classes}]")
    try:
        return check_class_names(classes, "CLASSES")
    except DatasetError as error:
        raise ConfigError(str(error)) from None


def checked_path(key: str, path: str) -> str:
    """Return the path under a key of an entry, with "~" as the user's folder.

    Raises:
        ConfigError: it is no path.
    """
    if not isinstance(path, str):
        raise ConfigError(f"{key} must be a path, got {path!r}")
    return os.path.expanduser(path)


def _checked_metric(metric: str) -> str:
    if metric not in METRICS:
        raise ConfigError(f"METRIC must be one of {', '.join(METRICS)}, got {metric!r}")
    return metric
