"""Names of output files for images and videos: readable and unique."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ssd.inference.detections import Detections
from ssd.inference.sources import VideoInfo
from ssd.utils.image import IMAGE_SUFFIXES, WRITTEN_SUFFIXES

_MAX_LENGTH = 60  # characters of a name from an address: up to 240 bytes of UTF-8, file systems allow 255
_FORBIDDEN = re.compile(r'[\x00-\x1f%/\\:*?"<>|]')


class OutputNames:
    """Names the files of images and videos, relative to an output folder.

    Images keep their names. Those of the first source folder go directly into the output folder, those of another one
    into a subfolder with its name. No text file of an image gets the stem ``reserved`` (lower case).
    """

    def __init__(self, reserved: str = ""):
        self._reserved = reserved
        self._folders: dict[str, str] = {}
        self._videos: dict[str, str] = {}
        self._taken: set[str] = set()

    def picture(self, detections: Detections) -> Path:
        """Return the path of the annotated image, with the suffix of its source, or .jpg if that cannot be written."""
        path = self._locate(detections)
        return path if path.suffix.lower() in WRITTEN_SUFFIXES else path.with_name(f"{path.name}.jpg")

    def text(self, detections: Detections) -> Path:
        """Return the path of the text file: STEM.txt; STEM.jpg.txt for addresses and where images share a stem."""
        if detections.video is not None:
            return Path(self._video_stem(detections.video), f"{detections.index:06d}.txt")
        path = self._locate(detections)
        is_shared = path.stem.lower() == self._reserved or detections.path is None or _shares_stem(detections.path)
        return path.with_name(f"{path.name if is_shared else path.stem}.txt")

    def video(self, video: VideoInfo) -> Path:
        """Return the path of the annotated video."""
        return Path(f"{self._video_stem(video)}.mp4")

    def _locate(self, detections: Detections) -> Path:
        if detections.path is not None:
            path = Path(os.path.abspath(detections.path))
            place, wanted, name = str(path.parent), path.parent.name, path.name
        else:
            place, name = _split_address(detections.name)
            wanted = _clean(place.rpartition("/")[2])
        if place not in self._folders:
            self._folders[place] = self._claim(wanted) if self._folders else ""
        return Path(self._folders[place], name or "image")

    def _video_stem(self, video: VideoInfo) -> str:
        if video.name not in self._videos:
            wanted = Path(video.name).stem
            if "://" in video.name:
                place, name = _split_address(video.name)
                wanted = Path(name).stem or _clean(place)
            self._videos[video.name] = self._claim(wanted)
        return self._videos[video.name]

    def _claim(self, wanted: str) -> str:
        """Return the wanted name, with a number if it is taken; case is ignored, as in some file systems."""
        wanted = wanted or "images"
        name, number = wanted, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name.casefold())
        return name


def _shares_stem(path: Path) -> bool:
    """Whether another image of the folder may differ in its suffix only."""
    if Path(path.stem).suffix.lower() in IMAGE_SUFFIXES:  # a.jpg.png, next to the text of an a.jpg
        return True
    suffixes = [form(suffix) for suffix in IMAGE_SUFFIXES for form in (str, str.upper, str.capitalize)]
    others = (path.with_suffix(suffix) for suffix in suffixes if suffix != path.suffix)
    return any(other.exists() and not other.samefile(path) for other in others)


def _split_address(name: str) -> tuple[str, str]:
    """Return the part of an address or name before the last slash, without password, and a clean file name.

    The query of an address belongs to the name only where the path alone does not name an image.
    """
    if "://" not in name:
        place, _, last = name.replace("\\", "/").rpartition("/")
        return place, _clean(last)
    address = urlsplit(name)
    folder, _, last = address.path.rpartition("/")
    last = unquote(last)
    if address.query and Path(last).suffix.lower() not in IMAGE_SUFFIXES:
        last = f"{last}?{address.query}"
    return f"{address.hostname or ''}{folder}", _clean(last)


def _clean(name: str) -> str:
    """Return a name for every file system: other characters as %XX, a hash at the end of a long one."""
    cleaned = _FORBIDDEN.sub(lambda match: f"%{ord(match[0]):02X}", name)
    if not cleaned.strip("."):
        return ""
    if len(cleaned) <= _MAX_LENGTH:
        return cleaned
    return f"{cleaned[: _MAX_LENGTH - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
