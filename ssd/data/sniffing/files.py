"""Names of files and folders, as the searches read them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ssd.data.datasets.paths import path_inside
from ssd.utils.image import IMAGE_SUFFIXES

_ENOUGH = 20_000  # names of a folder that are looked at
_NO_SPLIT = r"instances?|annotations?|labels?|bbox|boxes|coco|default|result|data|dataset|all|export|_|-|\.|\s"


def names_in(folder: Path) -> list[str]:
    """Return names in a folder, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry, _ in zip(entries, range(_ENOUGH), strict=False))
    except OSError:
        return []


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones aside, sorted."""
    return [folder / name for name in names_in(folder) if not name.startswith(".") and (folder / name).is_dir()]


def has_suffix(folder: Path, suffixes: str | tuple[str, ...]) -> bool:
    """Whether a folder holds a file with one of the suffixes."""
    return any(name.lower().endswith(suffixes) for name in names_in(folder))


def has_images(folder: Path) -> bool:
    """Whether a folder holds an image."""
    return has_suffix(folder, IMAGE_SUFFIXES)


def stem_to_split(path: Path, root: Path) -> str | None:
    """Return the split that an annotation file holds: as its name says, such as train2017 for instances_train2017.json,
    or that of its folder; None if neither tells."""
    for name in (path.stem, *(parent.name for parent in path.parents if root in parent.parents)):
        words = [word for word in re.split(r"[_\-.\s]+", name) if word and not re.fullmatch(_NO_SPLIT, word.lower())]
        if words:
            return "_".join(words)
    return None


def find_image_folder(root: Path, source: Path, split: str | None, files: Sequence[str]) -> Path | None:
    """Return the folder to which the file names of an annotation file are relative, by the first that exists there."""
    near, splits = source.parent, [split] if split else []
    candidates = [near, *(near / name for name in ("images", "img", *splits))]
    for name in splits:
        candidates += [root / name, root / "images" / name, root / name / "images"]
    candidates += [root / "images", root / "JPEGImages", root / "img", root, root / "data", *folders_in(root)]
    candidates += folders_in(root / "images")
    for folder in candidates:
        for file in files:
            path = path_inside(str(folder), file)
            if path is not None and os.path.isfile(path):
                return folder
    return None
