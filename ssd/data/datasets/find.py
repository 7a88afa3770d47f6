"""Detection of the format of a dataset folder."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ssd.data.datasets.base import ArrayDataset
from ssd.data.datasets.coco import COCODataset, find_coco, read_coco_json
from ssd.data.datasets.csv_table import CSVDataset, find_csv
from ssd.data.datasets.folders import Layout, folders_in, is_usual_split, split_of_file
from ssd.data.datasets.paths import MissingPathError, names_in, require_path
from ssd.data.datasets.policy import ErrorPolicy, SkipErrors
from ssd.data.datasets.voc import VOCDataset, find_voc, read_voc_xml
from ssd.data.datasets.yolo import YOLODataset, find_yolo
from ssd.utils.errors import ConfigError, DatasetError, join_some

logger = logging.getLogger(__name__)

# Search of each format, and the layout that it finds. Of formats with the same content the first is the original.
_SEARCHES = {
    "voc": (find_voc, "VOC: Annotations/*.xml with JPEGImages/ or images/, or .xml files next to images"),
    "coco": (
        find_coco,
        "COCO: a .json with images, annotations and categories, here, in annotations/ or in train/, valid/, test/",
    ),
    "yolo": (
        find_yolo,
        "YOLO: data.yaml or obj.data, or classes.txt with images/ and labels/ or .txt files next to images",
    ),
    "csv": (find_csv, "CSV: a .csv with columns for file, box (xmin, ymin, xmax, ymax) and class"),
}
FORMATS = tuple(_SEARCHES)
# Readers whose error says why a file is not an annotation file.
_READERS: dict[str, Any] = {".json": read_coco_json, ".csv": CSVDataset, ".xml": read_voc_xml}
# Text in the beginning of an annotation file of a tool that also exports one of FORMATS.
_OTHER_FORMATS = {
    b"<annotations>": "the XML of CVAT",
    b'"rectanglelabels"': "the JSON of Label Studio",
    b'"coordinates"': "the JSON of CreateML",
}
_SHOWN = 5  # reasons in a message

# Number of objects of each class, by the path of the image.
_Objects = dict[str, Counter[str]]


def find_layout(root: Path, format_name: str | None = None) -> Layout:
    """Return the dataset in a folder, of one of FORMATS if it is given.

    Only names and the beginnings of files are read, unless there are several formats. Then the first of them is
    returned if it has the images and objects of all others, which are counted by class.
    """
    require_path(root, "dataset folder")
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; ROOT is the folder of a dataset, or add its FORMAT")
    names = FORMATS if format_name is None else (format_name,)
    searched = [layout for name in names if (layout := _SEARCHES[name][0](root)) is not None]
    found = [layout for layout in searched if layout.entries]
    passed_over = {path: reason for layout in searched for path, reason in layout.passed_over.items()}
    if not found:
        raise _not_found_error(root, names, passed_over)
    for path, reason in passed_over.items():
        if is_usual_split(split_of_file(path, root)) or path.suffix.lower() not in _READERS:
            logger.warning("%s is not used: %s", path, reason or _read_reason(path))
    return found[0] if len(found) == 1 else _choose_original(root, found)


def _choose_original(root: Path, found: list[Layout]) -> Layout:
    original, difference = _find_original(found)
    titles = {layout.title: f"{layout.title} in {layout.where}" for layout in found}
    if original is None:
        names = ", ".join(titles).lower()
        raise ConfigError(
            f"{root} holds datasets in {len(found)} formats: {'; '.join(titles.values())}; and they differ: "
            f"{difference}. Name the FORMAT ({names}; --format in a command), or a folder with one"
        )
    chosen = titles.pop(original.title)
    splits = sorted({split for layout in found for split in layout.splits if layout.title in titles})
    division = "" if not splits or any(map(is_usual_split, original.splits)) else f", with splits {', '.join(splits)}"
    message = (
        "%s: %s is read; it has the images and objects of %s too. --format, or FORMAT in a config, chooses another%s"
    )
    logger.info(message, root, chosen, "; ".join(titles.values()), division)
    return original


def _not_found_error(root: Path, names: tuple[str, ...], passed_over: Mapping[Path, str]) -> ConfigError:
    """Return the error that says why each file is not the annotations of a dataset, and what was looked for."""
    reasons = [reason or _read_reason(path) for path, reason in islice(passed_over.items(), _SHOWN)]
    if "voc" in names:
        firsts = (next(folder.glob("*.[xX][mM][lL]"), None) for folder in (root, *folders_in(root)))
        reasons += map(_read_reason, islice(filter(None, firsts), _SHOWN))
    if "yolo" in names and not reasons and any(root.glob("labels/**/*.txt")):
        reasons.append(f"{root}: labels/ has text files, and no file names the classes; write classes.txt, one a line")
    listing = join_some(name + "/" * (root / name).is_dir() for name in names_in(root, limit=1000)) or "nothing"
    wanted = f" of FORMAT {names[0]}" if len(names) == 1 else ""
    lines = [f"{root}: no dataset{wanted} found", *dict.fromkeys(reasons), f"It holds: {listing}. Looked for"]
    return ConfigError("\n  ".join([*lines, *(_SEARCHES[name][1] for name in names)]))


def _read_reason(path: Path) -> str:
    try:
        _READERS[path.suffix.lower()](path)
    except DatasetError as error:
        return f"{path} is {name}; export as COCO, Pascal VOC or YOLO" if (name := _other_format(path)) else str(error)
    return f"{path}: there are no images that belong to it"


def _other_format(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return None
    return next((name for text, name in _OTHER_FORMATS.items() if text in head), None)


class _LeaveOut(SkipErrors):
    """Skip mistakes without a warning, since reading the chosen format reports them."""

    reads_headers = False
    wants_notes = True


def _find_original(layouts: Sequence[Layout]) -> tuple[Layout | None, str]:
    """Return the first layout with annotations if it has the objects of all others; None and the difference if not."""
    objects = []
    for layout in layouts:
        try:
            objects.append((layout, _read_objects(layout)))
        except MissingPathError:
            continue
        except DatasetError as error:
            return None, str(error)
    if not objects:  # lists of classes alone
        return None, "none has annotations"
    original, whole = objects[0]
    differences = (_find_difference(part, whole, layout.title, original.title) for layout, part in objects[1:])
    difference = next(filter(None, differences), "")
    return None if difference else original, difference


def _read_objects(layout: Layout) -> _Objects:
    objects: _Objects = {}
    for entry in layout.entries.values():
        policy = _LeaveOut()
        try:
            dataset = _open(entry, policy)
        except DatasetError as error:
            raise policy.explain(error) from None
        for row in range(len(dataset)):
            labels = dataset.get_annotation(row)[1][1].tolist()
            objects[os.path.realpath(dataset.image_path(row))] = Counter(dataset.class_names[label] for label in labels)
    return objects


def images_of(entry: Mapping[str, Any]) -> set[str]:
    """Return the paths of the images of an entry of a layout that can be used; none if its annotations cannot be."""
    try:
        dataset = _open(entry, _LeaveOut())
    except DatasetError:
        return set()
    return {os.path.realpath(dataset.image_path(row)) for row in range(len(dataset))}


def _open(entry: Mapping[str, Any], policy: ErrorPolicy) -> ArrayDataset:
    match entry["FORMAT"]:
        case "voc":
            folders = {key.lower(): entry[key] for key in ("IMAGES", "ANNOTATIONS") if key in entry}
            return VOCDataset(entry["ROOT"], entry.get("SPLIT"), policy=policy, **folders)
        case "coco":
            return COCODataset(entry["IMAGES"], entry["ANNOTATIONS"], policy=policy)
        case "yolo":
            return YOLODataset(entry["ROOT"], entry.get("SPLIT"), policy=policy)
    return CSVDataset(entry["ANNOTATIONS"], entry["IMAGES"], policy=policy)


def _find_difference(part: _Objects, whole: _Objects, part_title: str, whole_title: str) -> str:
    """Return the first image whose objects are not those that ``whole`` has, in words; empty = there is none."""
    for path, objects in part.items():
        if path not in whole and objects:
            return f"{path} has objects in {part_title} only"
        if path in whole and objects != whole[path]:
            return f"{path} has {_listed(objects)} in {part_title} and {_listed(whole[path])} in {whole_title}"
    return ""


def _listed(objects: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in objects.items()) or "no object"
