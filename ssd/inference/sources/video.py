"""Videos, streams and cameras as frames, through OpenCV."""

import logging
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from ssd.inference.sources.addresses import address_scheme, public_address
from ssd.inference.sources.frames import Frame, PendingFrame, VideoInfo, failed_frame
from ssd.utils.errors import ImageError
from ssd.utils.image import MAX_PIXELS, silence_ffmpeg, silent_opencv

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"),
    *(".ogv", ".mjpeg"),
)
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt")
_MAX_FRAMES = 2**40  # OpenCV returns such numbers for an unknown duration
_MAX_FRAME_RATE = 1000  # above, it is the time base of a stream of unknown rate
# The header's count is often an estimate from the duration, or includes hidden frames. A video is incomplete when both
# frames and time are short by more than this; less is a warning.
_TOLERANCE = 0.05


class VideoSource:
    """Frames of a video file, an address or a camera (its number). Each iteration decodes from the start.

    A video that ends before the promised number of frames, or a camera that stops, gives those it has, then a frame
    whose ``read`` raises ImageError. ``timeout`` is that of a stream to open and of each of its frames, in seconds.
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
        num_read, seconds = 0, 0.0
        try:
            while (pixels := _read_bgr(capture)) is not None:
                name = f"{self.info.name}, frame {num_read}"
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield PendingFrame(name, partial(_make_frame, pixels, name, num_read, self.info))
                num_read += 1
        finally:
            capture.release()
        if error := self._early_end(num_read, seconds):
            yield failed_frame(self.info.name, error)

    def _early_end(self, num_read: int, seconds: float) -> ImageError | None:
        """Return the error of a video that ended too early; ``seconds`` is the time of its last frame."""
        if num_read == 0:
            return ImageError(f"{self.info.name}: no frame can be decoded")
        if isinstance(self._address, int):
            return ImageError(f"{self.info.name}: no more frames after {num_read}; is it still connected?")
        promised = self.info.num_frames
        if promised is None or num_read >= promised:
            return None
        message = f"{self.info.name}: ends, or is damaged, after {num_read} of the {promised} frames in its header"
        minimum = (1 - _TOLERANCE) * promised
        if num_read < minimum and seconds * self.info.frame_rate + 1 < minimum:
            return ImageError(message)
        logger.warning("%s", message)
        return None


def _open_capture(address: str | int, timeout: float) -> cv2.VideoCapture:
    silence_ffmpeg()
    with silent_opencv():
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
    with silent_opencv():
        is_read, pixels = capture.read()
    return pixels if is_read else None


def _make_frame(pixels: np.ndarray, name: str, index: int, video: VideoInfo) -> Frame:
    return Frame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), name, index=index, video=video)


def _public_name(address: str | int) -> str:
    if isinstance(address, int):
        return f"camera {address}"
    return public_address(address) if address_scheme(address) else address
