"""Open anything a user gives as a source of frames."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ssd.inference.sources.addresses import address_path, address_scheme, fetch_image, public_address
from ssd.inference.sources.frames import Frame, PendingFrame, Source, failed_frame
from ssd.inference.sources.still_images import SingleImage, check_tensor, open_image
from ssd.inference.sources.video import STREAM_SCHEMES, VIDEO_SUFFIXES, VideoSource
from ssd.utils.errors import ImageError
from ssd.utils.files import warn_of_others
from ssd.utils.image import IMAGE_SUFFIXES, image_names, read_image

_PLAYLIST_SUFFIXES = (".m3u8", ".mpd")  # video over http in pieces
_WILDCARDS = "*?["
_KINDS = (
    "a path, URL, folder, glob pattern, video, camera number, stream address, PIL image, RGB array, tensor, the bytes "
    "of an image file, or a list of these"
)


def open_source(source: object, name: str = "image") -> Source:
    """Open images of any origin; ``name`` is for those that have no path or address.

    That is the path or http(s) URL of an image or video; folder (the images directly inside); glob pattern ("**"
    matches folders); number of a camera (int or digits); address of a stream (rtsp, rtmp, udp, ...); bytes of an image
    file; PIL image; uint8 array (H, W, 3) RGB, (H, W, 4) or (H, W); tensor (3, H, W) or (B, 3, H, W) RGB, uint8 or
    float 0..1; a list or iterable of these, each opened in its turn; or a Source. Anything else is an ImageError.
    """
    if isinstance(source, str | os.PathLike):
        return _open_address(os.fsdecode(source))
    if isinstance(source, int | np.integer) and not isinstance(source, bool):
        return VideoSource(int(source))
    if isinstance(source, Tensor) and source.ndim == 4:
        check_tensor(source, name)
        return ManySources(source, len(source), f"{name}[{{}}]")
    if isinstance(source, np.ndarray | Tensor | Image.Image | bytes):
        return open_image(source, name)
    if isinstance(source, Source):
        return source
    if isinstance(source, list | tuple):
        return ManySources(source, _count(source))
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return ManySources(source, None)
    raise ImageError(f"{name}: {type(source).__name__} is not a source of images; expected {_KINDS}")


class ManySources:
    """Frames of several sources in order. A source that cannot be opened is one frame that cannot be read."""

    def __init__(self, items: Iterable[object], num_frames: int | None, name: str = "image {}"):
        self._items = items
        self.num_frames = num_frames
        self._name = name

    def __iter__(self) -> Iterator[PendingFrame]:
        index = 0
        for item in self._items:
            name = self._name.format(index)
            try:
                source: Iterable[PendingFrame] = open_source(item, name)
            except ImageError as error:
                source = [failed_frame(name, error)]
            for pending in source:
                yield PendingFrame(pending.name, partial(_read_numbered, pending, index))
                index += 1


def _read_numbered(pending: PendingFrame, index: int) -> Frame:
    frame = pending.read()
    return frame if frame.video else replace(frame, index=index)


def _open_address(address: str) -> Source:
    if scheme := address_scheme(address):
        return _open_url(address, scheme)
    address = os.path.expanduser(address)
    if address.isascii() and address.isdigit():
        return VideoSource(int(address))
    if os.path.isdir(address):
        names = image_names(address)
        return ManySources([os.path.join(address, name) for name in names], len(names))
    if os.path.isfile(address):
        if address.lower().endswith(VIDEO_SUFFIXES):
            return VideoSource(address)
        return SingleImage(address, partial(read_image, address), Path(address))
    if any(wildcard in address for wildcard in _WILDCARDS):
        paths = match_pattern(address, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        return ManySources(paths, _count(paths))
    raise ImageError(f"{address or repr(address)}: there is no such file or folder; expected {_KINDS}")


def _open_url(address: str, scheme: str) -> Source:
    if scheme in STREAM_SCHEMES:
        return VideoSource(address)
    if scheme not in ("http", "https"):
        known = ", ".join(("http", "https", *STREAM_SCHEMES))
        raise ImageError(f"{public_address(address)}: unknown kind of address {scheme!r}; expected one of {known}")
    if address_path(address).lower().endswith((*VIDEO_SUFFIXES, *_PLAYLIST_SUFFIXES)):
        return VideoSource(address)
    return SingleImage(public_address(address), partial(fetch_image, address))


def match_pattern(pattern: str, suffixes: Sequence[str]) -> list[str]:
    """Return the sorted matches of a glob pattern with one of the suffixes, or that of the pattern; warn of others."""
    own_suffix = os.path.splitext(pattern)[1].lower()
    suffixes = (*suffixes, *([own_suffix] if own_suffix else []))
    matches = glob.glob(pattern, recursive=True)
    paths = sorted(path for path in matches if path.lower().endswith(suffixes))
    if not paths:
        raise ImageError(f"{pattern}: no file matches with a suffix of {', '.join(suffixes)}")
    warn_of_others(pattern, (path for path in set(matches) - set(paths) if not os.path.isdir(path)))
    return paths


def _count(items: Sequence[object]) -> int | None:
    """Return the number of frames, or None where only opening the items would show it."""
    return len(items) if all(_is_one_image(item) for item in items) else None


def _is_one_image(item: object) -> bool:
    """Decide for paths by the suffix, which avoids a stat for each of a million files."""
    if isinstance(item, str | os.PathLike):
        path = os.fsdecode(item)
        return path.lower().endswith(IMAGE_SUFFIXES) and not any(wildcard in path for wildcard in _WILDCARDS)
    return isinstance(item, np.ndarray | Image.Image | bytes) or (isinstance(item, Tensor) and item.ndim == 3)
