"""The files that say what a set in YOLO's layout holds: data.yaml, obj.data, classes.txt, and lists of images."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssd.data.datasets.checks import check_class_names
from ssd.data.datasets.paths import read_file, require_path
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.image import IMAGE_SUFFIXES

_NO_SPLITS = frozenset(
    ("path", "names", "nc", "download", "yaml_file", "kpt_shape", "flip_idx", "channels", "roboflow")
)
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "labels/obj.names", "predefined_classes.txt")
_MAX_NAMES = 100_000


@dataclass(frozen=True)
class YOLOLayout:
    """What there is.

    Attributes:
        source: the file that says so; without one, the folder.
        folder: that its paths are relative to.
        names: of the classes, by their number.
        splits: images of each split: folders, lists and files, as written. Empty = all images below the folder.
        num_columns: numbers of a row, if rows have more than a box: those of poses.
    """

    source: Path
    folder: Path
    names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_columns: int | None = None

    def image_paths(self, split: str | None) -> list[Path]:
        """Return the images of a split, or of all, each once and sorted as its lists and folders are.

        Raises:
            DatasetError: there is no such split, or what it names is missing.
        """
        if split is None:
            found = list(_images_below(self.folder))
        else:
            if split not in self.splits:
                known = ", ".join(self.splits) or "none"
                message = f"{self.source}: no split {split!r}; there are: {known}"
                raise DatasetError(message, path=self.source, field=split)
            found = [path for name in self.splits[split] for path in self._images_of(name, split)]
        if not found:
            place = f"split {split}" if split else "it"
            raise DatasetError(f"{self.source}: {place} has no image with suffix {', '.join(IMAGE_SUFFIXES)}")
        return list(dict.fromkeys(found))

    def _images_of(self, name: str, split: str) -> Iterator[Path]:
        path = self._find(self.folder, name) or require_path(self.folder / name, f"split {split}:")
        if path.is_dir():
            yield from _images_below(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
        else:
            for line in _lines(path, "list of images"):
                yield self._find(path.parent, line) or path.parent / line

    def _find(self, start: Path, name: str) -> Path | None:
        """The file or folder, also if it was named from another place: Roboflow writes ../train/images, Darknet and
        CVAT data/train.txt for what lies beside the file that names it."""
        inner = name.removeprefix("../").removeprefix("data/")
        for candidate in (start / name, self.folder / name, start / inner, self.folder / inner):
            if "\0" not in name and os.path.exists(candidate):
                return Path(os.path.normpath(candidate))
        return None


def read_yolo_layout(root: Path) -> YOLOLayout:
    """Read what a folder or one of its files says of a set.

    Args:
        root: a data.yaml or obj.data, or the folder that holds one of them, or a classes.txt.

    Raises:
        MissingPathError: there is no such file or folder.
        DatasetError: nothing names the classes, or what does is malformed.
    """
    require_path(root, "dataset")
    if root.is_file():
        return _read_obj_data(root) if root.suffix == ".data" else _read_data_yaml(root)
    yamls = [path for path in sorted(root.glob("*.y*ml")) if is_data_yaml(path)]
    if len(yamls) > 1:
        names = ", ".join(path.name for path in yamls)
        raise DatasetError(f"{root}: several files describe a YOLO set: {names}; name one of them as ROOT")
    if yamls:
        return _read_data_yaml(yamls[0])
    if (root / "obj.data").is_file():
        return _read_obj_data(root / "obj.data")
    for name in _NAME_FILES:
        if (root / name).is_file():
            return YOLOLayout(root / name, root, _read_names(root / name), _folder_splits(root))
    raise DatasetError(
        f"{root}: nothing names the classes: neither a YAML file with names, as data.yaml, nor obj.data, nor "
        f"{', '.join(_NAME_FILES)}",
        path=root,
    )


def is_data_yaml(path: Path) -> bool:
    """Whether a YAML file names classes and splits, or at least classes, of a YOLO set."""
    try:
        content = _parse(path)
    except DatasetError:
        return False
    return "names" in content and ("nc" in content or "train" in content or "val" in content)


def _read_data_yaml(path: Path) -> YOLOLayout:
    content = _parse(path)
    names = content.get("names")
    if isinstance(names, dict):
        numbers = range(len(names))
        if not all(number in names for number in numbers):
            message = f"{path}: names must number the classes 0 to {len(names) - 1}, got {shorten(list(names))}"
            raise DatasetError(message, path=path, field="names")
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or len(names) > _MAX_NAMES:
        message = f"{path}: names must list the classes, or number them, got {shorten(names)}"
        raise DatasetError(message, path=path, field="names")
    names = check_class_names([str(name) if type(name) in (int, float) else name for name in names], f"{path}: names")[
        1:
    ]
    if content.get("nc", len(names)) != len(names):
        message = f"{path}: nc is {shorten(content['nc'])}, but there are {len(names)} names"
        raise DatasetError(message, path=path, field="nc")
    splits = {}
    for split, value in content.items():
        items = value if isinstance(value, list) else [value]
        if split not in _NO_SPLITS and items and all(isinstance(item, str) and item for item in items):
            splits[split] = tuple(items)
    shape = content.get("kpt_shape")
    num_columns = None
    if isinstance(shape, list) and len(shape) == 2 and all(type(side) is int for side in shape):
        num_columns = 5 + shape[0] * shape[1]
    return YOLOLayout(path, _base_folder(path, content.get("path")), names, splits, num_columns)


def _base_folder(path: Path, base: Any) -> Path:
    """The folder that ``path:`` names; that of the file, if it does not exist: the set was copied here."""
    if isinstance(base, str) and base and "\0" not in base:
        folder = path.parent / os.path.expanduser(base)
        if os.path.isdir(folder):
            return folder
    return path.parent


def _parse(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(read_file(path, "description of the dataset"))
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: not valid YAML: {error}", path=path) from error
    except RecursionError as error:
        raise DatasetError(f"{path}: not valid YAML: nested too deeply", path=path) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a mapping with names, got {shorten(content)}", path=path)
    return content


def _read_obj_data(path: Path) -> YOLOLayout:
    """Darknet's and CVAT's ``key = value`` lines: names, train, valid."""
    pairs = dict(line.split("=", 1) for line in _lines(path, "description of the dataset") if "=" in line)
    values = {key.strip(): value.strip() for key, value in pairs.items()}
    layout = YOLOLayout(path, path.parent, ())
    written = values.get("names", "obj.names")
    names = layout._find(path.parent, written) or require_path(path.parent / written, "list of class names")
    no_splits = ("classes", "names", "backup", "eval", "results", "top", "labels")
    splits = {key: (value,) for key, value in values.items() if key not in no_splits and value}
    return YOLOLayout(path, path.parent, _read_names(names), splits)


def _read_names(path: Path) -> tuple[str, ...]:
    return check_class_names(_lines(path, "list of class names"), str(path))[1:]


def _folder_splits(root: Path) -> dict[str, tuple[str, ...]]:
    """images/train, images/val, ...; or train/images, valid/images, ...; or neither."""
    inner = sorted(path for path in root.glob("images/*") if path.is_dir())
    outer = sorted(path for path in root.glob("*/images") if path.is_dir())
    return {path.name: (f"images/{path.name}",) for path in inner} or {
        path.parent.name: (f"{path.parent.name}/images",) for path in outer
    }


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files) if name.lower().endswith(IMAGE_SUFFIXES))


def _lines(path: Path, what: str) -> list[str]:
    try:
        text = read_file(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text: {error}", path=path) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
