"""Annotation files of COCO's format, as the challenge, Roboflow, CVAT and Label Studio lay them out."""

import json
import mmap
import re
from pathlib import Path

from ssd.data.sniffing.files import find_image_folder, folders_in, names_in, stem_to_split
from ssd.data.sniffing.layout import Layout

_SECTIONS = (b'"images"', b'"annotations"', b'"categories"')
_OTHER_TASKS = ("person_keypoints", "captions", "panoptic", "stuff", "image_info")
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.){1,4096}")')


def find_coco(root: Path) -> Layout | None:
    """See ``find_layout``."""
    entries, sources = {}, []
    for folder in (root, *folders_in(root)):
        for name in names_in(folder):
            path = folder / name
            if not name.endswith(".json") or name.startswith(_OTHER_TASKS):
                continue
            file = _first_file(path)
            if file is None:
                continue
            split = stem_to_split(path, root)
            images = find_image_folder(root, path, split, [file])
            if images is not None:
                split = split if split not in entries else path.stem
                entries[split] = {"FORMAT": "coco", "IMAGES": str(images), "ANNOTATIONS": str(path)}
                sources.append(str(path))
    return Layout("COCO", ", ".join(sources), entries) if entries else None


def _first_file(path: Path) -> str | None:
    """The first file_name of a file with all sections; found without parsing hundreds of megabytes."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return None
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            match = _FILE_NAME.search(content)
            if match is None or any(content.find(section) < 0 for section in _SECTIONS):
                return None
            name = json.loads(match[1])
    except (OSError, ValueError):
        return None
    return name if isinstance(name, str) else None
