"""One annotation file of COCO's format: what it must hold, entry by entry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssd.data.datasets.checks import MAX_COORDINATE
from ssd.data.datasets.paths import read_file
from ssd.data.datasets.policy import RAISE_ERRORS
from ssd.utils.errors import DatasetError, shorten

# The keys that each entry of a list of the file must have.
_KEYS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
_IDS = ("id", "image_id", "category_id")
_MAX_ID = 2**63  # as COCO's tools keep them


def read_coco_json(path: Path, reject: Callable[[DatasetError], None] = RAISE_ERRORS.reject) -> dict[str, Any]:
    """Read an annotation file and check every entry.

    Args:
        path: the file.
        reject: gets the error of each malformed entry, which is left out if this returns.

    Returns:
        The content of the file. Each entry of ``images``, ``annotations`` and ``categories`` has the keys that it
        needs; ids are hashable, no image or category has that of another, boxes are four finite numbers.

    Raises:
        MissingPathError: there is no such file.
        DatasetError: it is no JSON, a list is missing, or ``reject`` raises.
    """
    content = _parse(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO annotations: expected an object with {', '.join(_KEYS)}", path=path)
    for section in _KEYS:
        entries = content.get(section)
        if not isinstance(entries, list):
            found = shorten(list(content))
            message = f"{path}: not COCO annotations: needs a list {section!r}; keys found: {found}"
            raise DatasetError(message, path=path, field=section)
        content[section] = _sound_entries(entries, section, path, reject)
    return content


def _parse(path: Path) -> Any:
    content = read_file(path, "annotation file")
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        message = f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise DatasetError(message, path=path, field=f"line {error.lineno}") from error
    except ValueError as error:  # its encoding, or a number of thousands of digits
        raise DatasetError(f"{path}: not JSON text: {error}", path=path) from error
    except RecursionError as error:
        raise DatasetError(f"{path}: not COCO annotations: nested too deeply", path=path) from error


def _sound_entries(
    entries: list[Any], section: str, path: Path, reject: Callable[[DatasetError], None]
) -> list[dict[str, Any]]:
    """The entries of a list that are as they must be."""
    keys, is_listed = _KEYS[section], section != "annotations"
    sound, seen = [], set()
    for number, entry in enumerate(entries):
        fault = _fault(entry, keys)
        if not fault and is_listed and entry["id"] in seen:
            fault = f"has the id {entry['id']!r} of another entry"
        if fault:
            field = f"{section}[{number}]"
            message = f"{path}: {field} {fault}; it is {shorten(entry)}"
            reject(DatasetError(message, path=path, field=field))
            continue
        if is_listed:
            seen.add(entry["id"])
        sound.append(entry)
    return sound


def _fault(entry: Any, keys: tuple[str, ...]) -> str:
    """What is wrong with an entry; empty = nothing."""
    if not isinstance(entry, dict):
        return f"lacks {', '.join(keys)}"
    missing = [key for key in keys if key not in entry]
    if missing:
        return f"lacks {', '.join(missing)}"
    for key in keys:
        value = entry[key]
        if key in _IDS and not is_id(value):
            return f"has {key} {shorten(value)}, which must be a whole number"
        if key in ("file_name", "name") and not isinstance(value, str):
            return f"has {key} {shorten(value)}, which must be a string; put it in quotes"
        if key == "bbox" and not _is_box(value):
            return f"of image {entry['image_id']} has bbox {shorten(value)}; it must be [x, y, width, height] in pixels"
    for key in ("area", "iscrowd"):
        if entry.get(key) is not None and not _is_number(entry[key]):
            return f"has {key} {shorten(entry[key])}, which must be a number"
    return ""


def is_id(value: Any) -> bool:
    """Whether ``value`` is an id as COCO defines it, a whole number; pandas writes these as floats."""
    return type(value) in (int, float) and abs(value) < _MAX_ID and value == int(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    """Neither infinite nor nan, which compares as false."""
    return isinstance(value, (int, float)) and -MAX_COORDINATE <= value <= MAX_COORDINATE
