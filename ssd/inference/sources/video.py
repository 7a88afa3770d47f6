"""Videos, streams and cameras as frames, through OpenCV."""

import logging
import math
import time
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from ssd.inference.sources.addresses import address_scheme, public_address
from ssd.inference.sources.frames import Frame, PendingFrame, VideoInfo, failed_frame
from ssd.utils.errors import ImageError
from ssd.utils.image import MAX_PIXELS

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"),
    *(".ogv", ".mjpeg"),
)
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt")
_MAX_FRAMES = 2**40  # OpenCV returns such numbers for an unknown duration
_COMPLETE = 0.95  # share of the frames in the header, which may be an estimate, or of the time
_MAX_FRAME_RATE = 1000  # above, it is the time base of a stream of unknown rate


class VideoSource:
    """Frames of a video file, an address or a camera (its number). Each iteration decodes from the start.

    A video without frames, or a camera that stops, ends with a frame whose ``read`` raises ImageError. ``timeout`` is
    that of a stream to open and of each of its frames, in seconds.
    """

    def __init__(self, address: str | int, timeout: float = 10.0):
        self._address = address
        self._timeout = timeout
        self._capture: cv2.VideoCapture | None = _open_capture(address, timeout)
        self.info = _read_info(self._capture, _public_name(address))

    @property
    def num_frames(self) -> int | None:
        """Number of frames in the header; None = unknown."""
        return self.info.num_frames

    def __iter__(self) -> Iterator[PendingFrame]:
        # A camera opens only once, so the first iteration takes the capture of the constructor.
        capture, self._capture = self._capture or _open_capture(self._address, self._timeout), None
        times, num_read, start = _FrameTimes(self.info.frame_rate), 0, 0.0
        try:
            while (pixels := _read_bgr(capture)) is not None:
                if isinstance(self._address, int):  # cameras count from any time, or not at all
                    start = start or time.monotonic()
                    seconds = times.add(time.monotonic() - start)
                else:
                    seconds = times.add(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                name = f"{self.info.name}, frame {num_read}"
                yield PendingFrame(name, partial(_make_frame, pixels, name, num_read, self.info, seconds))
                num_read += 1
        finally:
            capture.release()
        expected = (self.info.frame_rate and self.info.num_frames) or 0
        in_time = (times.last + times.longest) * self.info.frame_rate  # the last frame may last as long as any other
        if max(num_read, in_time) < _COMPLETE * expected:
            message = "%s: %d frames are read, but its header has %d; is it damaged?"
            logger.warning(message, self.info.name, num_read, expected)
        if num_read == 0 or isinstance(self._address, int):
            reason = f"no more frames after {num_read}; is it damaged, or not connected any more?"
            yield failed_frame(self.info.name, ImageError(f"{self.info.name}: {reason}"))


class _FrameTimes:
    """Times of the frames of a video: those of its container or, where these do not increase, of its frame rate."""

    def __init__(self, frame_rate: float):
        self.last = -math.inf  # seconds
        self.longest = 0.0  # seconds between two frames
        self._step = 1 / frame_rate if frame_rate else None

    def add(self, seconds: float) -> float | None:
        """Return the time of the next frame, which the container shows at ``seconds``; None = unknown."""
        if self.last < 0:
            seconds = seconds if seconds > 0 else 0.0  # also of nan
        elif not seconds > self.last:
            if self._step is None:
                return None
            seconds = self.last + self._step
        self.longest = max(self.longest, seconds - self.last) if self.last >= 0 else 0.0
        self.last = seconds
        return seconds


def _open_capture(address: str | int, timeout: float) -> cv2.VideoCapture:
    if isinstance(address, int):
        capture = cv2.VideoCapture(address)
    else:
        # Other backends than CAP_FFMPEG take "%03d" in a name for a numbered sequence of images.
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        settings = [value for key in limits for value in (key, round(1000 * timeout))]
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, settings)
    if capture.isOpened():
        return capture
    if isinstance(address, int):
        reason = "there is no such camera, or another program uses it"
    elif address_scheme(address):
        reason = "no video received; check the address and the network"
    else:
        reason = "not a video, or an incomplete one, or one that OpenCV cannot decode"
    raise ImageError(f"{_public_name(address)}: {reason}")


def _read_info(capture: cv2.VideoCapture, name: str) -> VideoInfo:
    count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: frames of {width} x {height} pixels exceed the limit of {MAX_PIXELS} pixels")
    return VideoInfo(
        name=name,
        frame_rate=rate if 0 < rate < _MAX_FRAME_RATE else 0.0,
        num_frames=int(count) if 0 < count < _MAX_FRAMES else None,
        size=(width, height),
    )


def _read_bgr(capture: cv2.VideoCapture) -> np.ndarray | None:
    is_read, pixels = capture.read()
    return pixels if is_read else None


def _make_frame(pixels: np.ndarray, name: str, index: int, video: VideoInfo, seconds: float | None) -> Frame:
    return Frame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), name, index=index, video=video, time=seconds)


def _public_name(address: str | int) -> str:
    if isinstance(address, int):
        return f"camera {address}"
    return public_address(address) if address_scheme(address) else address
