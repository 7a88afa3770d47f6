"""Formats with one annotation file a split, whose file names are relative to a folder of images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssd.data.sniffing.files import find_image_folder, folders_in, names_in, stem_to_split
from ssd.data.sniffing.layout import Layout


def find_annotation_files(root: Path, title: str, image_files: Callable[[Path], Sequence[str]]) -> Layout | None:
    """Look for annotation files in a folder and in those directly inside.

    Args:
        root: the folder.
        title: of the format; in lower case its FORMAT.
        image_files: gives some of the images that a file names; none if it is no annotation file of the format.

    Returns:
        A split for each file some of whose images are there; None without any.
    """
    entries: dict[str | None, Any] = {}
    sources = []
    for folder in (root, *folders_in(root)):
        for path in (folder / name for name in names_in(folder)):
            files = image_files(path)
            if not files:
                continue
            split = stem_to_split(path, root)
            images = find_image_folder(root, path, split, files)
            if images is not None:
                split = split if split not in entries else path.stem
                entries[split] = {"FORMAT": title.lower(), "IMAGES": str(images), "ANNOTATIONS": str(path)}
                sources.append(str(path))
    return Layout(title, ", ".join(sources), entries) if entries else None
