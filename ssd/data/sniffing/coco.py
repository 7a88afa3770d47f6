"""Annotation files of COCO's format, as the challenge, Roboflow, CVAT and Label Studio lay them out."""

import json
import mmap
import re
from pathlib import Path

from ssd.data.sniffing.annotation_files import find_annotation_files
from ssd.data.sniffing.layout import Layout

_SECTIONS = (b'"images"', b'"annotations"', b'"categories"')
_OTHER_TASKS = ("person_keypoints", "captions", "panoptic", "stuff", "image_info")
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.){1,4096}")')


def find_coco(root: Path) -> Layout | None:
    """See ``find_layout``."""
    return find_annotation_files(root, "COCO", _first_file)


def _first_file(path: Path) -> list[str]:
    """The first file_name of a file with all sections, else nothing; found without parsing hundreds of megabytes."""
    if not path.name.endswith(".json") or path.name.startswith(_OTHER_TASKS):
        return []
    try:
        if not path.is_file() or not path.stat().st_size:
            return []
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            match = _FILE_NAME.search(content)
            if match is None or any(content.find(section) < 0 for section in _SECTIONS):
                return []
            name = json.loads(match[1])
    except (OSError, ValueError):
        return []
    return [name] if isinstance(name, str) else []
