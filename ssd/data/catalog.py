"""Datasets by name: the official sets, those of DATASETS.CUSTOM, and those that a plug-in registers.

An entry is a mapping with FORMAT, the name of a factory in ``DATASET_FORMATS``, and the arguments of that factory in
upper case. An entry with ROOT and without FORMAT has its format detected, see ``find_layout``; with FORMAT, the files
of the format. A plug-in registers a factory for a new format, and calls ``register_dataset`` for a new set;
docs/extending.md has an example.
"""

import difflib
import inspect
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssd.data.datasets import ArrayDataset, COCODataset, CSVDataset, DetectionDataset, VOCDataset, YOLODataset
from ssd.data.datasets.find import find_layout
from ssd.data.datasets.folders import check_split
from ssd.data.datasets.paths import MissingPathError
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy, SkipErrors, check_class_names, make_policy
from ssd.data.datasets.voc import find_voc
from ssd.structures.class_names import COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import ConfigError, DatasetError, shorten
from ssd.utils.registry import Registry

logger = logging.getLogger(__name__)

# Contract: factory(**arguments, is_train, class_names) -> DetectionDataset. All parameters are keyword-only; all but
# the last two are keys of an entry, in upper case there, optional if they have a default. ``class_names`` (background
# first) fixes the labels; None = as the entry or the annotations say. A parameter ``policy`` gets the ErrorPolicy.
DATASET_FORMATS = Registry("dataset format")
_NO_KEYS = ("is_train", "class_names", "policy")  # parameters of a factory that are not keys of an entry
_METRICS = ("voc07", "voc", "coco")
_DEFAULT_ROOT = "datasets"
_COCO_SETS = ("2014_train", "2014_val", "2014_minival", "2014_valminusminival", "2017_train", "2017_val")
_registered: dict[str, Mapping[str, Any]] = {}


def register_dataset(name: str, entry: Mapping[str, Any]) -> None:
    """Make ``name`` usable in DATASETS.TRAIN and TEST. Raise ValueError if the name is taken."""
    if name in _catalog():
        raise ValueError(f"dataset {name!r} is registered already")
    _registered[name] = dict(entry)


def dataset_names() -> list[str]:
    """Return the names that need no DATASETS.CUSTOM entry, sorted."""
    return sorted(_catalog())


def make_dataset(
    name: str,
    custom: Mapping[str, Any],
    *,
    is_train: bool,
    class_names: Sequence[str] | None = None,
    on_error: str = "raise",
) -> DetectionDataset:
    """Build the dataset called ``name`` in the catalogue or in ``custom``, which is DATASETS.CUSTOM."""
    policy = make_policy(on_error)
    try:
        dataset = open_dataset(name, custom, policy, is_train=is_train, class_names=class_names)
    except DatasetError as error:
        raise policy.explain(error) from None
    if isinstance(policy, SkipErrors):
        policy.warn(f"dataset {name!r}")
    if isinstance(dataset, ArrayDataset):
        is_loss = any(tally.is_loss for tally in dataset.tallies)
        logger.log(logging.WARNING if is_loss else logging.INFO, "dataset %r: %s", name, dataset.summary())
    return dataset


def open_dataset(
    name: str,
    custom: Mapping[str, Any],
    policy: ErrorPolicy,
    *,
    is_train: bool,
    class_names: Sequence[str] | None = None,
) -> DetectionDataset:
    """Build the dataset called ``name`` under a policy; see ``make_dataset``."""
    written = _find_entry(name, custom).items()
    entry = {key: os.path.expanduser(item) if isinstance(item, str) else item for key, item in written}
    try:
        found = ""
        if _is_searched(entry):
            entry, found = _detect_format(entry)
        factory = DATASET_FORMATS[entry["FORMAT"]]
        _check_keys(factory, entry)
        arguments = {key.lower(): value for key, value in entry.items() if key != "FORMAT"}
        if "policy" in inspect.signature(factory).parameters:
            arguments["policy"] = policy
        dataset: DetectionDataset = factory(**arguments, is_train=is_train, class_names=class_names)
    except MissingPathError as error:
        message = f"dataset {name!r}: {error}{_root_hint(name)}"
        raise MissingPathError(message, path=error.path, field=error.field, kind=error.kind) from None
    except ConfigError as error:
        raise ConfigError(f"dataset {name!r}: {error}") from None
    if found:
        logger.info("dataset %r: found %d images, %s", name, len(dataset), found)
    return dataset


def _find_entry(name: str, custom: Mapping[str, Any]) -> Mapping[str, Any]:
    catalog = _catalog()
    taken = sorted(set(catalog) & set(custom))
    if taken:
        raise ConfigError(f"DATASETS.CUSTOM.{taken[0]}: the catalogue has a dataset of this name; choose another")
    entries = {**catalog, **custom}
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=3)
        hint = f"did you mean {' or '.join(close)}" if close else f"is it one of {', '.join(sorted(entries))}"
        raise ConfigError(f"unknown dataset {name!r}: {hint}? Your own dataset needs an entry in DATASETS.CUSTOM")
    entry: Any = entries[name]
    if not isinstance(entry, Mapping) or not {"FORMAT", "ROOT"} & set(entry):
        hint = """; at the end of a command it is written "{'ROOT': ...}\"""" if isinstance(entry, str) else ""
        raise ConfigError(
            f"DATASETS.CUSTOM.{name} must be a mapping with a FORMAT ({', '.join(sorted(DATASET_FORMATS))}), or with "
            f"ROOT, a folder whose format is detected, got {entry!r}{hint}"
        )
    return entry


def _is_searched(entry: Mapping[str, Any]) -> bool:
    """Return whether the files of an entry are looked for in ROOT: it does not name them, or not even a FORMAT."""
    format_name = entry.get("FORMAT")
    if format_name is None or "ROOT" not in entry or {"IMAGES", "ANNOTATIONS"} & set(entry):
        return format_name is None
    root = Path(_checked_path("ROOT", entry["ROOT"]))
    is_unusual_voc = format_name == "voc" and not (root / "Annotations").is_dir() and find_voc(root) is not None
    return format_name in ("coco", "csv") or is_unusual_voc


def _detect_format(entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the entry of the dataset in ROOT, and its description."""
    layout = find_layout(Path(_checked_path("ROOT", entry["ROOT"])), entry.get("FORMAT"))
    split = layout.choose_split(check_split(entry.get("SPLIT")))
    options = {key: value for key, value in entry.items() if key not in ("ROOT", "SPLIT")}
    return {**layout.entries[split], **options}, layout.title + (f", split {split}" if split else "")


def _check_keys(factory: Any, entry: Mapping[str, Any]) -> None:
    parameters = {
        key.upper(): item for key, item in inspect.signature(factory).parameters.items() if key not in _NO_KEYS
    }
    for key in entry:
        if key != "FORMAT" and key not in parameters:
            close = difflib.get_close_matches(key.upper(), parameters, n=1)
            hint = f"did you mean {close[0]}?" if close else f"FORMAT {entry['FORMAT']} has {', '.join(parameters)}"
            raise ConfigError(f"unknown key {key}; {hint}")
    missing = [key for key, item in parameters.items() if item.default is item.empty and key not in entry]
    if missing:
        raise ConfigError(f"FORMAT {entry['FORMAT']} also needs {', '.join(missing)}")


def _catalog() -> dict[str, Mapping[str, Any]]:
    """Return the entries of the official sets, with the roots in the environment, and of the registered ones."""
    voc_root = Path(os.environ.get("VOC_ROOT", _DEFAULT_ROOT))
    coco_root = Path(os.environ.get("COCO_ROOT", _DEFAULT_ROOT))
    entries: dict[str, Mapping[str, Any]] = {}
    for year in ("2007", "2012"):
        for split in ("train", "val", "trainval", "test"):
            entries[f"voc_{year}_{split}"] = {
                "FORMAT": "voc",
                "ROOT": str(voc_root / f"VOC{year}"),
                "SPLIT": split,
                "CLASSES": VOC_CLASSES,
                "METRIC": "voc07" if year == "2007" else "voc",  # the challenge changed its metric in 2010
            }
    for year, split in (name.split("_") for name in _COCO_SETS):
        entries[f"coco_{year}_{split}"] = {
            "FORMAT": "coco",
            "IMAGES": str(coco_root / f"{'train' if split == 'train' else 'val'}{year}"),
            "ANNOTATIONS": str(coco_root / "annotations" / f"instances_{split}{year}.json"),
            "CLASSES": COCO_CLASSES,
        }
    return {**entries, **_registered}


def _root_hint(name: str) -> str:
    if name in _registered or name not in _catalog():
        return ""
    variable, content = ("VOC_ROOT", "VOC2007 and VOC2012") if name.startswith("voc") else ("COCO_ROOT", "annotations")
    value = os.environ.get(variable)
    setting = f"is {value!r}" if value is not None else f"is not set, so it is {_DEFAULT_ROOT!r}"
    return f". The environment variable {variable} names the folder that holds {content}; it {setting}"


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
    """Build a set in VOC layout. Difficult objects are left out of training and kept for testing."""
    return VOCDataset(
        _checked_path("ROOT", root),
        check_split(split),
        class_names=class_names or _with_background(classes),
        keep_difficult=not is_train,
        metric=_checked_metric(metric),
        policy=policy,
        images=_checked_path("IMAGES", images),
        annotations=_checked_path("ANNOTATIONS", annotations),
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
    """Build a set in COCO format."""
    names = class_names or _with_background(classes)
    images, annotations = _checked_path("IMAGES", images), _checked_path("ANNOTATIONS", annotations)
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
    """Build a set in the layout of YOLO; ROOT is its folder or its data.yaml."""
    names = class_names or _with_background(classes)
    root, split = _checked_path("ROOT", root), check_split(split)
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
    """Build a set from a table; IMAGES is the folder of the table by default."""
    names = class_names or _with_background(classes)
    annotations = _checked_path("ANNOTATIONS", annotations)
    folder = None if images is None else _checked_path("IMAGES", images)
    return CSVDataset(annotations, folder, class_names=names, metric=_checked_metric(metric), policy=policy)


def _with_background(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if not isinstance(classes, (list, tuple)):
        hint = ""
        if isinstance(classes, str):
            hint = f'; write "{[name.strip() for name in classes.strip("[]()").split(",")]}"'
        raise ConfigError(f"CLASSES must be a list of names, got {shorten(classes)}{hint}")
    try:
        return check_class_names(classes, "CLASSES")
    except DatasetError as error:
        raise ConfigError(str(error)) from None


def _checked_path(key: str, path: str) -> str:
    if not isinstance(path, str):
        raise ConfigError(f"{key} must be a path, got {path!r}")
    return path


def _checked_metric(metric: str) -> str:
    if metric not in _METRICS:
        raise ConfigError(f"METRIC must be one of {', '.join(_METRICS)}, got {metric!r}")
    return metric
