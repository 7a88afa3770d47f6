"""The layout of Pascal VOC, and .xml files beside images as LabelImg and Roboflow write them."""

from pathlib import Path
from typing import Any

from ssd.data.sniffing.files import folders_in, has_images, has_suffix, names_in
from ssd.data.sniffing.layout import Layout

_TITLE = "VOC"


def find_voc(root: Path) -> Layout | None:
    """See ``find_layout``."""
    folders = {folder.name.lower(): folder.name for folder in folders_in(root)}
    annotations = next((folders[name] for name in ("annotations", "xmls", "labels") if name in folders), None)
    images = next((folders[name] for name in ("jpegimages", "images", "img") if name in folders), None)
    if annotations and images and has_suffix(root / annotations, ".xml"):
        entry = {"FORMAT": "voc", "ROOT": str(root)}
        if (annotations, images) != ("Annotations", "JPEGImages"):
            entry |= {"IMAGES": images, "ANNOTATIONS": annotations}
        lists = root / "ImageSets" / "Main"
        splits = [name[:-4] for name in names_in(lists) if name.endswith(".txt") and _is_list(lists / name)]
        entries: dict[str | None, Any] = {split: {**entry, "SPLIT": split} for split in splits}
        return Layout(_TITLE, str(root), entries or {None: entry})
    if _is_mixed(root):
        return Layout(_TITLE, str(root), {None: _mixed_entry(root)})
    mixed: dict[str | None, Any] = {
        folder.name: _mixed_entry(folder) for folder in folders_in(root) if _is_mixed(folder)
    }
    return Layout(_TITLE, str(root), mixed) if mixed else None


def _is_list(path: Path) -> bool:
    """Whether a file lists ids; those of one class, such as cat_train.txt, have a flag behind each."""
    try:
        with open(path, "rb") as file:
            first = file.readline(1000).split()
    except OSError:
        return False
    return len(first) == 1


def _is_mixed(folder: Path) -> bool:
    return has_suffix(folder, ".xml") and has_images(folder)


def _mixed_entry(folder: Path) -> dict[str, Any]:
    return {"FORMAT": "voc", "ROOT": str(folder), "IMAGES": ".", "ANNOTATIONS": "."}
