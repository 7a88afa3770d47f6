"""What a source gives: images one after the other, each decoded when it is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, runtime_checkable

import numpy as np

from ssd.utils.errors import ImageError


class VideoInfo(NamedTuple):
    """What a video says of itself.

    Attributes:
        name: path, address (without password) or "camera 0".
        frame_rate: frames a second; 0 = unknown.
        num_frames: as its header says; None = unknown, or without end (a camera).
        size: (width, height) in pixels, turned upright.
    """

    name: str
    frame_rate: float
    num_frames: int | None
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded image.

    Attributes:
        image: RGB uint8, (H, W, 3).
        name: for people: path, address, "image 3", "street.mp4, frame 17"; all numbers count from 0.
        path: the image file that it was read from, if it was.
        index: its number in the video, else in the source.
        video: the video that it is part of, if it is.
    """

    image: np.ndarray
    name: str
    path: Path | None = None
    index: int = 0
    video: VideoInfo | None = None


class PendingFrame(NamedTuple):
    """An image that is not decoded yet.

    Attributes:
        name: as its Frame will have it.
        read: decodes it, in any thread; raises ImageError if that fails.
    """

    name: str
    read: Callable[[], Frame]


@runtime_checkable
class Source(Protocol):
    """Images one after the other; iterating twice gives them twice, unless they come from an iterator or a camera."""

    @property
    def num_frames(self) -> int | None:
        """How many there are; None = unknown. Of a video, what its header says."""

    def __iter__(self) -> Iterator[PendingFrame]:
        """Walk through them; nothing is decoded but frames of a video, which depend on each other."""


def failed_frame(name: str, error: ImageError) -> PendingFrame:
    """Return the place of an image that cannot be had: reading it raises ``error``."""
    return PendingFrame(name, partial(_raise, error))


def _raise(error: ImageError) -> NoReturn:
    raise error
