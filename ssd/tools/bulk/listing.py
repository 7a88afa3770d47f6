"""The images of a job: paths and addresses in an order that every process finds by itself."""

import glob
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ssd.inference.sources import VIDEO_SUFFIXES, Frame, PendingFrame
from ssd.inference.sources.addresses import address_scheme, fetch_image, public_address
from ssd.inference.sources.opening import match_pattern
from ssd.utils.errors import ImageError, import_extra
from ssd.utils.image import IMAGE_SUFFIXES, image_names, read_image

_MAX_BYTES = 2**31  # largest encoded image of read_image


def list_images(sources: Sequence[str], list_file: Path | None) -> list[str]:
    """List the images of sources and of a text file with one a line, without opening any; a folder's are sorted."""
    files = [file for source in sources for file in _expand(source)]
    if list_file is not None:
        files += _read_list(list_file)
    if not files:
        raise ImageError(f"{list_file or 'no source'}: no images to detect in")
    return files


def _expand(source: str) -> list[str]:
    if address_scheme(source):
        return [source]
    source = os.path.expanduser(source)
    if os.path.isdir(source):
        return [os.path.join(source, name) for name in image_names(source)]
    if os.path.isfile(source):
        if source.lower().endswith(VIDEO_SUFFIXES):
            raise ImageError(f"{source}: a video, and --parts takes images; leave --parts out")
        return [source]
    if glob.has_magic(source):
        return match_pattern(source, IMAGE_SUFFIXES)
    raise ImageError(f"{source or repr(source)}: no such file or folder")


def _read_list(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: the list cannot be read: {error.strerror}") from error
    lines = (line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    return [os.path.expanduser(os.fsdecode(line)) for line in lines if line.strip()]


class ListedImages:
    """Source of images by path, http(s) address or address of ``pyarrow.fs``; indices count from ``first``."""

    def __init__(self, files: Sequence[str], first: int):
        self._files = files
        self._first = first
        self.num_frames = len(files)

    def __iter__(self) -> Iterator[PendingFrame]:
        for index, file in enumerate(self._files, start=self._first):
            yield PendingFrame(public_name(file), partial(_read, file, index))


def public_name(file: str) -> str:
    """Return the name of an entry in results: a path as it is, an address without password."""
    return public_address(file) if address_scheme(file) else file


def _read(file: str, index: int) -> Frame:
    scheme = address_scheme(file)
    if not scheme:
        return Frame(read_image(file), file, Path(file), index)
    image = fetch_image(file) if scheme in ("http", "https") else _fetch_stored(file)
    return Frame(image, public_name(file), index=index)


def _fetch_stored(address: str) -> np.ndarray:
    """Read an image from a file system of pyarrow: s3, gs, hdfs, file, ..."""
    arrow_fs = import_extra("pyarrow.fs", "parquet")
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(address)
        info = filesystem.get_file_info(path)
        if not info.is_file:
            raise ValueError("no such file")
        if info.size > _MAX_BYTES:
            raise ValueError(f"{info.size} bytes are more than an image may have")
        with filesystem.open_input_stream(path) as stream:
            return read_image(stream.read())
    except (OSError, ValueError, NotImplementedError) as error:  # of pyarrow; ImageError is a ValueError
        user = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
        text = str(error).replace(f"{user}@", "") if user else str(error)
        raise ImageError(f"{public_name(address)}: {text}") from None  # the cause has the password
