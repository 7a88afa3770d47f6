"""Classes and splits in the layout of YOLO: data.yaml (Ultralytics, Roboflow), obj.data (Darknet), classes.txt."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssd.data.datasets.paths import files_below, find_file, read_file, read_lines, read_text, require_path
from ssd.data.datasets.policy import check_class_names, mistake_at
from ssd.structures.class_names import NamesLoader
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.files import describe_others
from ssd.utils.image import IMAGE_SUFFIXES

# Keys of a data.yaml and of an obj.data that are not splits.
_YAML_KEYS = ("path", "names", "nc", "download", "yaml_file", "kpt_shape", "flip_idx", "channels", "roboflow")
_OBJ_DATA_KEYS = ("classes", "names", "backup", "eval", "results", "top", "labels")
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "labels/obj.names", "predefined_classes.txt")
_MAX_NAMES = 100_000
_NAMES_KEY = re.compile(r"""(^|[{,])\s*["']?names["']?\s*:""", re.MULTILINE)  # in the text of a data.yaml


@dataclass(frozen=True)
class YOLOLayout:
    """Classes and splits of a dataset."""

    source: Path  # the file that names them
    folder: Path  # that paths are relative to
    names: tuple[str, ...]  # class of each number
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # folders, lists and images, as written
    num_columns: int | None = None  # numbers in a row of a pose; None = rows are boxes or polygons

    def image_paths(self, split: str | None) -> list[Path]:
        """Return the images of a split, or of the whole folder, each once."""
        if split is None:
            found = list(_images_below(self.folder))
        elif split in self.splits:
            found = [path for name in self.splits[split] for path in self._images_of(name, split)]
        else:
            raise mistake_at(self.source, split, f"no such split; there are: {', '.join(self.splits) or 'none'}")
        if not found:
            place = f"split {split}" if split else "the folder"
            names = [name for folder in self.image_folders(split) for *_, names in os.walk(folder) for name in names]
            hint = describe_others(names, "; others are there: ")
            raise DatasetError(f"{self.source}: {place} has no image with suffix {', '.join(IMAGE_SUFFIXES)}{hint}")
        return list(dict.fromkeys(found))

    def image_folders(self, split: str | None) -> list[Path]:
        """Return the folders that are searched for the images of a split; none for lists of images."""
        if split is None:
            return [self.folder]
        found = (_find(self.folder, name, self.folder) for name in self.splits[split])
        return [path for path in found if path and path.is_dir()]

    def _images_of(self, name: str, split: str) -> Iterator[Path]:
        path = _find(self.folder, name, self.folder) or require_path(self.folder / name, f"split {split}:")
        if path.is_dir():
            yield from _images_below(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
        else:
            for line in read_lines(path, "list of images"):
                yield _find(path.parent, line, self.folder) or path.parent / line


def _find(start: Path, name: str, folder: Path) -> Path | None:
    """Return a named path, relative to ``start`` or ``folder``."""
    if "\0" in name:
        return None
    for written in (os.path.expanduser(name), name.replace("\\", "/")):  # as written, else with separators of Windows
        # Roboflow writes ../train/images, Darknet and CVAT data/train.txt, for a path next to the file that names it.
        inner = written.removeprefix("./").removeprefix("../").removeprefix("data/")
        for candidate in (start / written, folder / written, start / inner, folder / inner):
            if os.path.exists(candidate):
                return Path(os.path.normpath(candidate))
    found = find_file(os.fspath(folder), [inner])  # in upper or lower case
    return None if found is None else Path(found)


def _images_below(folder: Path) -> Iterator[Path]:
    return (folder / name for name in files_below(folder) if name.lower().endswith(IMAGE_SUFFIXES))


def read_yolo_layout(root: Path) -> YOLOLayout:
    """Read the description of a dataset: a data.yaml or obj.data, or a folder with one of them or a classes.txt."""
    require_path(root, "dataset")
    source = root if root.is_file() else find_description(root)
    if source is None:
        raise DatasetError(
            f"{root}: no file names the classes: neither a YAML file with names, as data.yaml, nor obj.data, nor "
            f"{', '.join(_NAME_FILES)}",
            path=root,
        )
    if source.suffix == ".data":
        return _read_obj_data(source)
    if source != root and source.suffix in (".txt", ".names"):
        return YOLOLayout(source, root, _read_names(source), _folder_splits(root))
    return _read_data_yaml(source)


def find_description(root: Path) -> Path | None:
    """Return the file in a folder that names the classes; None if there is none, DatasetError for several data.yaml."""
    yamls, errors = [], []
    for path in sorted(root.glob("*.y*ml")):
        try:
            content = _parse(path)
        except DatasetError as error:
            if _mentions_names(path):
                errors.append(error)
            continue
        if "names" in content and {"nc", "train", "val", "test"} & content.keys():
            yamls.append(path)
    if len(yamls) > 1:
        names = ", ".join(path.name for path in yamls)
        raise DatasetError(f"{root}: several files describe a YOLO set: {names}; name one of them as ROOT", path=root)
    if errors and not yamls:
        raise errors[0]
    others = (root / name for name in ("obj.data", *_NAME_FILES))
    return next((path for path in (*yamls, *others) if path.is_file()), None)


def _mentions_names(path: Path) -> bool:
    """Return whether a file that is not valid YAML is meant as a data.yaml."""
    try:
        return _NAMES_KEY.search(read_text(path, "description of the dataset")) is not None
    except DatasetError:
        return False


def _read_data_yaml(path: Path) -> YOLOLayout:
    content = _parse(path)
    splits = {}
    for split, value in content.items():
        items = value if isinstance(value, list) else [value]
        if split not in _YAML_KEYS and items and all(isinstance(item, str) and item for item in items):
            splits[split] = tuple(items)
    shape = content.get("kpt_shape")
    num_columns = None
    if isinstance(shape, list) and len(shape) == 2 and all(type(side) is int for side in shape):
        num_columns = 5 + shape[0] * shape[1]
    folder, base = path.parent, content.get("path")
    if isinstance(base, str) and base and "\0" not in base:
        written = (path.parent / os.path.expanduser(base), path.parent / base.replace("\\", "/"))
        folder = next(filter(os.path.isdir, written), folder)  # else the dataset was copied to another place
    return YOLOLayout(path, folder, _names_in_yaml(content, path), splits, num_columns)


def _names_in_yaml(content: Mapping[Any, Any], path: Path) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):
        if not all(number in names for number in range(len(names))):
            problem = f"must number the classes 0 to {len(names) - 1}, got {shorten(list(names))}"
            raise mistake_at(path, "names", problem)
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or len(names) > _MAX_NAMES:
        raise mistake_at(path, "names", f"must list the classes, or number them, got {shorten(names)}")
    if content.get("nc", len(names)) != len(names):
        raise mistake_at(path, "nc", f"is {shorten(content['nc'])}, but there are {len(names)} names")
    try:
        return check_class_names(names, f"{path}: names")[1:]
    except DatasetError as error:
        raise DatasetError(str(error), path=path, field="names") from None


def _parse(path: Path) -> dict[Any, Any]:
    text = read_file(path, "description of the dataset")
    try:
        content = yaml.load(text, Loader=NamesLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: not valid YAML: {' '.join(str(error).split())}", path=path) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a mapping with names, got {shorten(content)}", path=path)
    return content


def _read_obj_data(path: Path) -> YOLOLayout:
    """Read the ``key = value`` lines of Darknet and CVAT: names, train, valid."""
    pairs = (line.split("=", 1) for line in read_lines(path, "description of the dataset") if "=" in line)
    values = {key.strip(): value.strip() for key, value in pairs}
    written = values.get("names", "obj.names")
    names = _find(path.parent, written, path.parent) or require_path(path.parent / written, "list of class names")
    splits = {key: (value,) for key, value in values.items() if key not in _OBJ_DATA_KEYS and value}
    return YOLOLayout(path, path.parent, _read_names(names), splits)


def _read_names(path: Path) -> tuple[str, ...]:
    return check_class_names(read_lines(path, "list of class names"), path)[1:]


def _folder_splits(root: Path) -> dict[str, tuple[str, ...]]:
    """Return the splits of images/train, images/val, ...; or of train/images, valid/images, ...; or none."""
    inner = sorted(path for path in root.glob("images/*") if path.is_dir())
    outer = sorted(path for path in root.glob("*/images") if path.is_dir())
    return {path.name: (f"images/{path.name}",) for path in inner} or {
        path.parent.name: (f"{path.parent.name}/images",) for path in outer
    }
