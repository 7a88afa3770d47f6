"""Datasets by name: the official sets, those of DATASETS.CUSTOM, and those that a plug-in registers.

An entry is a mapping with FORMAT, the name of a factory in ``DATASET_FORMATS``, and the arguments of that factory in
upper case. A further format is one registered factory, a further set one ``register_dataset`` call:

    @DATASET_FORMATS.register("hdf5")
    def make_hdf5_dataset(*, file, classes=None, is_train, class_names):
        return HDF5Dataset(file, class_names or (BACKGROUND, *classes))

    register_dataset("shop_train", {"FORMAT": "hdf5", "FILE": "shop/train.h5", "CLASSES": ["apple", "pear"]})

An entry with ROOT and without FORMAT has its format found, see ``ssd.data.sniffing``.
"""

import difflib
import inspect
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssd.data.datasets.base import DetectionDataset
from ssd.data.datasets.paths import MissingPathError
from ssd.data.datasets.policy import ErrorPolicy, SkipErrors, make_policy
from ssd.data.formats import DATASET_FORMATS, checked_path
from ssd.data.sniffing import find_layout
from ssd.structures.class_names import COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import ConfigError

__all__ = ["DATASET_FORMATS", "dataset_names", "make_dataset", "open_dataset", "register_dataset"]

logger = logging.getLogger(__name__)

_GIVEN = ("is_train", "class_names", "policy")  # parameters of a factory that are no keys of an entry

_DEFAULT_ROOT = "datasets"
_COCO_FILES = {  # name -> (image folder, annotation file)
    "coco_2014_train": ("train2014", "instances_train2014.json"),
    "coco_2014_val": ("val2014", "instances_val2014.json"),
    "coco_2014_minival": ("val2014", "instances_minival2014.json"),
    "coco_2014_valminusminival": ("val2014", "instances_valminusminival2014.json"),
    "coco_2017_train": ("train2017", "instances_train2017.json"),
    "coco_2017_val": ("val2017", "instances_val2017.json"),
}
_registered: dict[str, Mapping[str, Any]] = {}


def register_dataset(name: str, entry: Mapping[str, Any]) -> None:
    """Make ``name`` usable in DATASETS.TRAIN and TEST.

    Raises:
        ValueError: the name is taken.
    """
    if name in _registered or name in _official_entries():
        raise ValueError(f"dataset {name!r} is registered already")
    _registered[name] = dict(entry)


def dataset_names() -> list[str]:
    """Return the names that need no DATASETS.CUSTOM entry, sorted."""
    return sorted({**_official_entries(), **_registered})


def make_dataset(
    name: str,
    custom: Mapping[str, Any],
    *,
    is_train: bool,
    class_names: Sequence[str] | None = None,
    on_error: str = "raise",
) -> DetectionDataset:
    """Build the dataset called ``name``.

    Args:
        name: of the catalogue or of ``custom``.
        custom: DATASETS.CUSTOM, entries by name.
        is_train: whether the set is trained on; formats may leave objects out of training.
        class_names: background first; fixes the labels. None leaves them to the entry or the annotations.
        on_error: DATASETS.ON_ERROR: "raise", or "skip", which leaves malformed data out and warns with a count.

    Raises:
        ConfigError: the name is unknown or taken twice, or its entry does not fit its format.
        DatasetError: the data is missing or malformed.
    """
    policy = make_policy(on_error)
    dataset = open_dataset(name, custom, policy, is_train=is_train, class_names=class_names)
    if isinstance(policy, SkipErrors):
        policy.warn(f"dataset {name!r}")
    return dataset


def open_dataset(
    name: str,
    custom: Mapping[str, Any],
    policy: ErrorPolicy,
    *,
    is_train: bool,
    class_names: Sequence[str] | None = None,
) -> DetectionDataset:
    """Build the dataset called ``name``; ``policy`` decides about mistakes in it. See ``make_dataset``."""
    entry, found = _find_entry(name, custom), ""
    if "FORMAT" not in entry:
        entry, found = _find_format(name, entry)
    factory = DATASET_FORMATS[entry["FORMAT"]]
    arguments = {key.lower(): value for key, value in entry.items() if key != "FORMAT"}
    _check_arguments(factory, entry, place=f"dataset {name!r}")
    if "policy" in inspect.signature(factory).parameters:
        arguments["policy"] = policy
    try:
        dataset: DetectionDataset = factory(**arguments, is_train=is_train, class_names=class_names)
    except MissingPathError as error:
        message = f"dataset {name!r}: {error}{_root_hint(name)}"
        raise MissingPathError(message, path=error.path, field=error.field, kind=error.kind) from None
    except ConfigError as error:
        raise ConfigError(f"dataset {name!r}: {error}") from None
    if found:
        logger.info("dataset %r: found %d images, %s", name, len(dataset), found)
    return dataset


def _find_format(name: str, entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The entry of what lies in ROOT, and what that is in words."""
    root, split = checked_path("ROOT", entry["ROOT"]), entry.get("SPLIT")
    try:
        layout = find_layout(Path(root))
        split = layout.choose_split(None if split is None else str(split))
    except ConfigError as error:
        raise ConfigError(f"dataset {name!r}: {error}") from None
    options = {key: value for key, value in entry.items() if key not in ("ROOT", "SPLIT")}
    return {**layout.entries[split], **options}, layout.title + (f", split {split}" if split else "")


def _find_entry(name: str, custom: Mapping[str, Any]) -> Mapping[str, Any]:
    catalog = {**_official_entries(), **_registered}
    taken = sorted(set(catalog) & set(custom))
    if taken:
        raise ConfigError(f"DATASETS.CUSTOM.{taken[0]}: the catalogue has a dataset of this name; choose another")
    if name not in catalog and name not in custom:
        names = sorted({*catalog, *custom})
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(close)}" if close else f"is it one of {', '.join(names)}"
        raise ConfigError(f"unknown dataset {name!r}: {hint}? A set of your own needs an entry in DATASETS.CUSTOM")
    entry = catalog[name] if name in catalog else custom[name]
    if not isinstance(entry, Mapping) or not {"FORMAT", "ROOT"} & set(entry):
        formats = ", ".join(sorted(DATASET_FORMATS))
        hint = """; at the end of a command it is written "{'ROOT': ...}\"""" if isinstance(entry, str) else ""
        raise ConfigError(
            f"DATASETS.CUSTOM.{name} must be a mapping with a FORMAT ({formats}), or with ROOT, a folder whose "
            f"format is found, got {entry!r}{hint}"
        )
    return entry


def _check_arguments(factory: Any, entry: Mapping[str, Any], place: str) -> None:
    """Check the keys of an entry against the parameters of its factory."""
    parameters = {
        key.upper(): parameter for key, parameter in inspect.signature(factory).parameters.items() if key not in _GIVEN
    }
    for key in entry:
        if key != "FORMAT" and key not in parameters:
            close = difflib.get_close_matches(key.upper(), parameters, n=1)
            hint = f"did you mean {close[0]}?" if close else f"FORMAT {entry['FORMAT']} has {', '.join(parameters)}"
            raise ConfigError(f"{place}: unknown key {key}; {hint}")
    missing = [key for key, item in parameters.items() if item.default is item.empty and key not in entry]
    if missing:
        raise ConfigError(f"{place}: FORMAT {entry['FORMAT']} also needs {', '.join(missing)}")


def _official_entries() -> dict[str, dict[str, Any]]:
    """The official sets, with the roots that the environment gives now."""
    voc_root = Path(os.environ.get("VOC_ROOT", _DEFAULT_ROOT))
    coco_root = Path(os.environ.get("COCO_ROOT", _DEFAULT_ROOT))
    entries: dict[str, dict[str, Any]] = {}
    for year in ("2007", "2012"):
        for split in ("train", "val", "trainval", "test"):
            entries[f"voc_{year}_{split}"] = {
                "FORMAT": "voc",
                "ROOT": str(voc_root / f"VOC{year}"),
                "SPLIT": split,
                "CLASSES": VOC_CLASSES,
                "METRIC": "voc07" if year == "2007" else "voc",  # the challenge changed its metric in 2010
            }
    for name, (folder, file) in _COCO_FILES.items():
        entries[name] = {
            "FORMAT": "coco",
            "IMAGES": str(coco_root / folder),
            "ANNOTATIONS": str(coco_root / "annotations" / file),
            "CLASSES": COCO_CLASSES,
        }
    return entries


def _root_hint(name: str) -> str:
    """Which environment variable places an official set."""
    if name not in _official_entries():
        return ""
    variable, content = ("VOC_ROOT", "VOC2007 and VOC2012") if name.startswith("voc") else ("COCO_ROOT", "annotations")
    value = os.environ.get(variable)
    setting = f"is {value!r}" if value is not None else f"is not set, so it is {_DEFAULT_ROOT!r}"
    return f". The environment variable {variable} names the folder that holds {content}; it {setting}"
