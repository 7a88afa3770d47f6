"""Classes and splits of a dataset in the layout of YOLO.

They are those of a data.yaml (Ultralytics, Roboflow), an obj.data (Darknet, CVAT) or a classes.txt (LabelImg).
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssd.data.datasets.paths import read_file, read_lines, require_path
from ssd.data.datasets.policy import check_class_names
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.image import IMAGE_SUFFIXES

# Keys of a data.yaml and of an obj.data that are not splits.
_YAML_KEYS = ("path", "names", "nc", "download", "yaml_file", "kpt_shape", "flip_idx", "channels", "roboflow")
_OBJ_DATA_KEYS = ("classes", "names", "backup", "eval", "results", "top", "labels")
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "labels/obj.names", "predefined_classes.txt")
_MAX_NAMES = 100_000


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
            message = f"{self.source}: no split {split!r}; there are: {', '.join(self.splits) or 'none'}"
            raise DatasetError(message, path=self.source, field=split)
        if not found:
            place = f"split {split}" if split else "the folder"
            raise DatasetError(f"{self.source}: {place} has no image with suffix {', '.join(IMAGE_SUFFIXES)}")
        return list(dict.fromkeys(found))

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
    """Return a named path, relative to ``start`` or ``folder``. Roboflow writes ../train/images, and Darknet and CVAT
    data/train.txt, for a path beside the file that names it."""
    inner = name.removeprefix("../").removeprefix("data/")
    for candidate in (start / name, folder / name, start / inner, folder / inner):
        if "\0" not in name and os.path.exists(candidate):
            return Path(os.path.normpath(candidate))
    return None


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files) if name.lower().endswith(IMAGE_SUFFIXES))


def read_yolo_layout(root: Path) -> YOLOLayout:
    """Read the description of a dataset: a data.yaml or obj.data, or a folder with one of them or a classes.txt."""
    require_path(root, "dataset")
    if root.is_file():
        return _read_obj_data(root) if root.suffix == ".data" else _read_data_yaml(root)
    yamls = [path for path in sorted(root.glob("*.y*ml")) if _is_data_yaml(path)]
    if len(yamls) > 1:
        names = ", ".join(path.name for path in yamls)
        raise DatasetError(f"{root}: several files describe a YOLO set: {names}; name one of them as ROOT")
    if yamls:
        return _read_data_yaml(yamls[0])
    if (root / "obj.data").is_file():
        return _read_obj_data(root / "obj.data")
    for path in (root / name for name in _NAME_FILES):
        if path.is_file():
            return YOLOLayout(path, root, _read_names(path), _folder_splits(root))
    raise DatasetError(
        f"{root}: no file names the classes: neither a YAML file with names, as data.yaml, nor obj.data, nor "
        f"{', '.join(_NAME_FILES)}",
        path=root,
    )


def _is_data_yaml(path: Path) -> bool:
    try:
        content = _parse(path)
    except DatasetError:
        return False
    return "names" in content and ("nc" in content or "train" in content or "val" in content)


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
    if isinstance(base, str) and base and "\0" not in base and os.path.isdir(folder / os.path.expanduser(base)):
        folder = folder / os.path.expanduser(base)  # else the dataset was copied to another place
    return YOLOLayout(path, folder, _names_in_yaml(content, path), splits, num_columns)


def _names_in_yaml(content: Mapping[Any, Any], path: Path) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):
        if not all(number in names for number in range(len(names))):
            problem = f"names must number the classes 0 to {len(names) - 1}, got {shorten(list(names))}"
            raise DatasetError(f"{path}: {problem}", path=path, field="names")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or len(names) > _MAX_NAMES:
        message = f"{path}: names must list the classes, or number them, got {shorten(names)}"
        raise DatasetError(message, path=path, field="names")
    texts = [str(name) if type(name) in (int, float) else name for name in names]
    if content.get("nc", len(names)) != len(names):
        message = f"{path}: nc is {shorten(content['nc'])}, but there are {len(names)} names"
        raise DatasetError(message, path=path, field="nc")
    return check_class_names(texts, f"{path}: names")[1:]


def _parse(path: Path) -> dict[Any, Any]:
    text = read_file(path, "description of the dataset")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: not valid YAML: {error}", path=path) from error
    except RecursionError as error:
        raise DatasetError(f"{path}: not valid YAML: nested too deeply", path=path) from error
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
