"""Which images a job is about: paths and addresses in an order that every process finds by itself."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ssd.inference.sources import VIDEO_SUFFIXES
from ssd.inference.sources.addresses import address_scheme
from ssd.utils.errors import ImageError
from ssd.utils.image import IMAGE_SUFFIXES, image_names


def list_images(sources: Sequence[str], list_file: Path | None) -> list[str]:
    """List the images of some sources; none is opened.

    Args:
        sources: each the path of an image, an address, a folder (the images directly inside), or a glob pattern ("**"
            goes into folders).
        list_file: a text file with a path or an address a line, taken as they stand; they come after the sources.

    Returns:
        Paths and addresses; those of a folder or a pattern sorted.

    Raises:
        ImageError: a source does not exist, is a video, or holds no image; the file cannot be read; or there are no
            images at all.
    """
    files = [file for source in sources for file in _expand(source)]
    if list_file is not None:
        files += _read_list(list_file)
    if not files:
        raise ImageError(f"{list_file or 'no source'}: there are no images to detect in")
    return files


def _expand(source: str) -> list[str]:
    if address_scheme(source):
        return [source]
    if os.path.isdir(source):
        return [os.path.join(source, name) for name in image_names(source)]
    if os.path.isfile(source):
        if source.lower().endswith(VIDEO_SUFFIXES):
            raise ImageError(f"{source}: a video, and these jobs are about images; ssd demo detects in videos")
        return [source]
    if glob.has_magic(source):
        return _matches(source)
    raise ImageError(f"{source or repr(source)}: there is no such file or folder")


def _matches(pattern: str) -> list[str]:
    """Those that are images by their suffix, or have that of the pattern."""
    own_suffix = os.path.splitext(pattern)[1].lower()
    suffixes = tuple(dict.fromkeys([*IMAGE_SUFFIXES, *([own_suffix] if own_suffix else [])]))
    found = sorted(path for path in glob.iglob(pattern, recursive=True) if path.lower().endswith(suffixes))
    if not found:
        raise ImageError(f"{pattern}: no image matches this pattern; these suffixes count: {', '.join(suffixes)}")
    return found


def _read_list(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: the list cannot be read: {error.strerror}") from error
    lines = (line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    return [os.fsdecode(line) for line in lines if line.strip()]
