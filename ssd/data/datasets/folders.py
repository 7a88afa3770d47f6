"""Layout of a dataset folder: its splits, and the search for annotation files that the formats share."""

import json
import mmap
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssd.data.datasets.paths import find_file, names_in
from ssd.utils.errors import ConfigError, shorten
from ssd.utils.image import IMAGE_SUFFIXES

# Spellings of the three usual splits, without years and separators.
_SPELLINGS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
# Words in the name of an annotation file that do not name a split.
_NO_SPLIT = r"instances?|annotations?|labels?|bbox|boxes|coco|default|result|data|dataset|all|export|_|-|\.|\s"


@dataclass(frozen=True)
class Layout:
    """A dataset that was found in a folder."""

    title: str  # of the format
    where: str  # the folder or the files that were found, for messages
    entries: Mapping[str | None, Mapping[str, Any]]  # entry of each split; under None, of a folder without splits
    # Files of other content, or whose images are missing, and why; an empty text = reading the file shows why.
    passed_over: Mapping[Path, str] = field(default_factory=dict)

    @property
    def splits(self) -> list[str]:
        """Names of the splits; empty = the folder has none."""
        return [split for split in self.entries if split is not None]

    def choose_split(self, split: str | None) -> str | None:
        """Return the name of a split as this folder has it: train is also train2017, val also valid.

        None is the only split, or the whole folder if it has none; ConfigError if the name is not unique.
        """
        known = f"{self.where} ({self.title}) has the splits {', '.join(self.splits)}"
        if split is None:
            if len(self.entries) > 1:
                raise ConfigError(f"SPLIT is missing: {known}")
            return next(iter(self.entries))
        if split in self.entries:
            return split
        if not self.splits:
            raise ConfigError(
                f"SPLIT is {split!r}, but {self.where} ({self.title}) has no splits; remove SPLIT to use all of it, or "
                "split it with ssd data split"
            )
        found = [name for name in self.splits if kind_of_split(name) == kind_of_split(split)]
        if len(found) != 1:
            raise ConfigError(f"SPLIT is {split!r}, but {known}")
        return found[0]


def check_split(split: Any) -> str | None:
    """Return the value of SPLIT in an entry as text. Raise ConfigError for one that YAML or Python changed."""
    if split is not None and type(split) not in (str, int):
        raise ConfigError(f"SPLIT must be a name, got {split!r}; put it in quotes")
    return None if split is None else str(split)


def kind_of_split(name: str) -> str:
    """Return train, val or test for their spellings; other names in lower case without years and separators."""
    plain = re.sub(r"(19|20)\d\d|[-_. ]", "", name.lower())
    names = (plain, plain.removeprefix("sub"))  # sub-train: the part of Open Images that its tutorials download
    return next((kind for kind, spellings in _SPELLINGS.items() if set(names) & set(spellings)), plain)


def is_usual_split(name: str | None) -> bool:
    """Return whether a name is a spelling of train, val or test."""
    return name is not None and kind_of_split(name) in _SPELLINGS


def find_annotation_files(root: Path, title: str, suffix: str, image_files: Callable[[Path], Sequence[str]]) -> Layout:
    """Look for annotation files of a format, one per split, in a folder and directly below it.

    A file counts if one of ``image_files``, some of those that it names, exists; they are none for other formats.
    """
    entries: dict[str | None, Any] = {}
    passed_over = {}
    for folder in (root, *folders_in(root)):
        for path in (folder / name for name in names_in(folder) if name.lower().endswith(suffix)):
            files = image_files(path)
            split = split_of_file(path, root)
            images = find_image_folder(root, path, split, files)
            if images is None:
                problem = f"{path}: its images, such as {shorten(files[0])}, are not in {root}" if files else ""
                passed_over[path] = problem
                continue
            split = split if split not in entries else path.stem
            entries[split] = {"FORMAT": title.lower(), "IMAGES": str(images), "ANNOTATIONS": str(path)}
    where = ", ".join(entry["ANNOTATIONS"] for entry in entries.values())
    return Layout(title, where, entries, passed_over)


def first_json_text(path: Path, key: str, sections: Collection[str]) -> str | None:
    """Return the first text of a key in a JSON file that has all sections, without parsing hundreds of megabytes."""
    try:
        if not path.is_file():  # a pipe would block
            return None
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            match = re.search(rb'"%b"\s*:\s*("(?:[^"\\]|\\.){1,4096}")' % key.encode(), content)
            if match is None or any(content.find(f'"{section}"'.encode()) < 0 for section in sections):
                return None
            return str(json.loads(match[1]))
    except (OSError, ValueError):  # the second for an empty file too
        return None


def split_of_file(path: Path, root: Path) -> str | None:
    """Return the split that an annotation file (train2017 of instances_train2017.json) or its folder is named by."""
    for name in (path.stem, *(parent.name for parent in path.parents if root in parent.parents)):
        words = [word for word in re.split(r"[_\-.\s]+", name) if word and not re.fullmatch(_NO_SPLIT, word.lower())]
        if words:
            return "_".join(words)
    return None


def find_image_folder(root: Path, source: Path, split: str | None, files: Sequence[str]) -> Path | None:
    """Return the folder to which the image names in an annotation file are relative; None if no image exists."""
    if not files:
        return None
    near, splits = source.parent, [split] if split else []
    if split:  # train/ for train2017
        same = [path.name for path in folders_in(root) if kind_of_split(path.name) == kind_of_split(split)]
        splits = list(dict.fromkeys([split, *same]))
    candidates = [near, *(near / name for name in ("images", "img", *splits))]
    for name in splits:
        candidates += [root / name, root / "images" / name, root / name / "images"]
    candidates += [root / "images", root / "JPEGImages", root / "img", root, root / "data", *folders_in(root)]
    candidates += folders_in(root / "images")
    for folder in candidates:
        for file in files:
            path = find_file(str(folder), [file])
            if path is not None and os.path.isfile(path):
                return folder
    return None


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder except hidden ones, sorted."""
    return [folder / name for name in names_in(folder) if not name.startswith(".") and (folder / name).is_dir()]


def has_suffix(folder: Path, suffixes: str | tuple[str, ...]) -> bool:
    """Return whether a folder holds a file with one of the suffixes."""
    return any(name.lower().endswith(suffixes) for name in names_in(folder))


def has_images(folder: Path) -> bool:
    """Return whether a folder holds an image."""
    return has_suffix(folder, IMAGE_SUFFIXES)
