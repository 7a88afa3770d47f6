"""Names for what is written about an image or a video: readable, and none given twice."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ssd.inference.detections import Detections
from ssd.inference.sources import VideoInfo
from ssd.utils.image import IMAGE_SUFFIXES

_MAX_LENGTH = 60  # characters of a name made from an address: up to 240 bytes, and file systems allow 255
_FORBIDDEN = re.compile(r'[\x00-\x1f%/\\:*?"<>|]')


class OutputNames:
    """Gives each image and video a name inside an output folder.

    Images keep their names. Those of the first source folder go straight into the output folder, those of every other
    one into a subfolder named after theirs, so no two overwrite each other. What is remembered grows with the number
    of folders and videos, not with that of images.

    Args:
        reserved: stems that images must not have in the output folder, in small letters.
    """

    def __init__(self, reserved: tuple[str, ...] = ()):
        self._reserved = reserved
        self._folders: dict[str, str] = {}
        self._videos: dict[str, str] = {}
        self._taken: set[str] = set()

    def picture(self, detections: Detections) -> Path:
        """Return where the annotated image goes, relative to the output folder: with the suffix of its source."""
        folder, name = self._locate(detections)
        is_writable = Path(name).suffix.lower() in IMAGE_SUFFIXES
        return folder / (name if is_writable else f"{name}.jpg")

    def text(self, detections: Detections) -> Path:
        """Return where the text file of an image or of a frame goes, relative to the output folder.

        It is STEM.txt; the suffix stays in it (STEM.jpg.txt) where two images of a folder share a stem, and for
        addresses, which cannot be asked for others.
        """
        if detections.video is not None:
            return Path(self._video_stem(detections.video), f"{detections.index:06d}.txt")
        folder, name = self._locate(detections)
        stem = Path(name).stem
        is_shared = stem.lower() in self._reserved or detections.path is None or _has_twin(detections.path)
        return folder / f"{name if is_shared else stem}.txt"

    def video(self, video: VideoInfo) -> Path:
        """Return where the annotated video goes, relative to the output folder."""
        return Path(f"{self._video_stem(video)}.mp4")

    def _locate(self, detections: Detections) -> tuple[Path, str]:
        """The subfolder and the name of an image."""
        if detections.path is not None:
            path = Path(os.path.abspath(detections.path))
            place, wanted, name = str(path.parent), path.parent.name, path.name
        else:
            place, name = _split_address(detections.name)
            wanted = _clean(place.rpartition("/")[2])
        if place not in self._folders:
            self._folders[place] = self._claim(wanted) if self._folders else ""
        return Path(self._folders[place]), name or "image"

    def _video_stem(self, video: VideoInfo) -> str:
        if video.name not in self._videos:
            wanted = Path(video.name).stem
            if "://" in video.name:
                place, name = _split_address(video.name)
                wanted = Path(name).stem or _clean(place)
            self._videos[video.name] = self._claim(wanted)
        return self._videos[video.name]

    def _claim(self, wanted: str) -> str:
        """The wanted name, or with a number behind it if it is taken."""
        wanted = wanted or "images"
        name, number = wanted, 1
        while name.casefold() in self._taken:  # not every file system tells small letters from capitals
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name.casefold())
        return name


def _has_twin(path: Path) -> bool:
    """Whether another image of the folder could differ in its suffix only."""
    if Path(path.stem).suffix.lower() in IMAGE_SUFFIXES:  # a.jpg.png, beside the text of an a.jpg
        return True
    suffixes = [form(suffix) for suffix in IMAGE_SUFFIXES for form in (str, str.upper, str.capitalize)]
    twins = (path.with_suffix(suffix) for suffix in suffixes if suffix != path.suffix)
    return any(twin.exists() and not twin.samefile(path) for twin in twins)


def _split_address(name: str) -> tuple[str, str]:
    """The place of an image without a file, or of a video, before the last slash, and a clean file name.

    User and password of an address are in neither. Its query counts only where the path alone does not name an image.
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
    """A name that every file system takes: other characters as %XX, and a hash for what makes it too long."""
    cleaned = _FORBIDDEN.sub(lambda match: f"%{ord(match[0]):02X}", name)
    if not cleaned.strip("."):
        return ""
    if len(cleaned) <= _MAX_LENGTH:
        return cleaned
    return f"{cleaned[: _MAX_LENGTH - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
