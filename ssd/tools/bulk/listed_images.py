"""The images of a listing as a source, one frame an entry whatever the entry turns out to be."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ssd.inference.sources import Frame, PendingFrame
from ssd.inference.sources.addresses import address_scheme, fetch_image, public_address
from ssd.utils.errors import ImageError, import_extra
from ssd.utils.image import read_image

_MAX_BYTES = 2**31  # of an encoded image; as many as read_image takes


class ListedImages:
    """A source of the images that a listing names.

    Args:
        files: paths and addresses: http, https, and those of ``pyarrow.fs`` (file, s3, gs, hdfs, ...).
        first: number of the first one in the whole listing; frames have theirs as ``index``.
    """

    def __init__(self, files: Sequence[str], first: int):
        self._files = files
        self._first = first

    @property
    def num_frames(self) -> int:
        """How many there are."""
        return len(self._files)

    def __iter__(self) -> Iterator[PendingFrame]:
        for index, file in enumerate(self._files, start=self._first):
            yield PendingFrame(public_name(file), partial(_read, file, index))


def public_name(file: str) -> str:
    """Return an entry of a listing as results name it: a path as it is, an address without password."""
    return public_address(file) if address_scheme(file) else file


def _read(file: str, index: int) -> Frame:
    scheme = address_scheme(file)
    if not scheme:
        return Frame(read_image(file), file, Path(file), index)
    image = fetch_image(file) if scheme in ("http", "https") else _fetch_stored(file)
    return Frame(image, public_name(file), index=index)


def _fetch_stored(address: str) -> np.ndarray:
    """An image from a file system that pyarrow knows by the scheme of its addresses."""
    arrow_fs = import_extra("pyarrow.fs", "parquet")
    name = public_name(address)
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(address)
        info = filesystem.get_file_info(path)
        if not info.is_file or info.size > _MAX_BYTES:
            what = f"{info.size} bytes are more than any image takes" if info.is_file else "there is no such file"
            raise ImageError(f"{name}: {what}")
        with filesystem.open_input_stream(path) as stream:
            content = stream.read()
    except ImageError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:  # what pyarrow raises
        user = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
        raise ImageError(f"{name}: {str(error).replace(f'{user}@', '') if user else error}") from None  # nor its cause
    try:
        return read_image(content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
