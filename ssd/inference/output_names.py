"""Names of output files for images and videos: readable and unique."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ssd.inference.detections import Detections
from ssd.inference.sources import VideoInfo
from ssd.utils.image import IMAGE_SUFFIXES, WRITTEN_SUFFIXES

_MAX_LENGTH = 60  # characters of a name from an address: up to 240 bytes of UTF-8, file systems allow 255
_FORBIDDEN = re.compile(r'[\x00-\x1f%:*?"<>|]')


class OutputNames:
    """Names the files of images and videos, relative to an output folder.

    Images keep their names. Those of the first source folder go directly into the output folder, those of another one
    into a subfolder with its name, and those without a file into one more. No text file of an image gets the stem
    ``reserved`` (lower case).
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
        path = None if detections.path is None else Path(os.path.abspath(detections.path))
        place, wanted = ("", "images") if path is None else (str(path.parent), path.parent.name)
        if place not in self._folders:
            self._folders[place] = self._claim(wanted or "images") if self._folders else ""
        name = self._claim(_last_part(detections.name) or "image") if path is None else path.name
        return Path(self._folders[place], name)

    def _video_stem(self, video: VideoInfo) -> str:
        if video.name not in self._videos:
            self._videos[video.name] = self._claim(Path(_last_part(video.name)).stem or "video")
        return self._videos[video.name]

    def _claim(self, wanted: str) -> str:
        """Return the wanted name, with a number if it is taken; case is ignored, as in some file systems."""
        path, name, number = Path(wanted), wanted, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{path.stem}_{number}{path.suffix}"
        self._taken.add(name.casefold())
        return name


def _shares_stem(path: Path) -> bool:
    """Whether another image of the folder may differ in its suffix only."""
    if Path(path.stem).suffix.lower() in IMAGE_SUFFIXES:  # a.jpg.png, next to the text of an a.jpg
        return True
    suffixes = [form(suffix) for suffix in IMAGE_SUFFIXES for form in (str, str.upper, str.capitalize)]
    others = (path.with_suffix(suffix) for suffix in suffixes if suffix != path.suffix)
    return any(other.exists() and not other.samefile(path) for other in others)


def _last_part(name: str) -> str:
    """Return the last part of a path, or of an address without its query, as a name for every file system."""
    name = unquote(urlsplit(name).path) if "://" in name else name
    return _FORBIDDEN.sub("_", re.split(r"[/\\]", name)[-1]).strip(".")[-_MAX_LENGTH:]
