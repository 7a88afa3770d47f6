"""Videos, streams and cameras, frame by frame, through OpenCV."""

import logging
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from ssd.inference.sources.frames import Frame, PendingFrame, VideoInfo, failed_frame
from ssd.inference.sources.web import address_scheme, public_address
from ssd.utils.errors import ImageError
from ssd.utils.image import MAX_PIXELS, silence_ffmpeg, silent_opencv

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"),
    *(".ogv", ".mjpeg"),
)
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt")
_TIMEOUT_MILLISECONDS = 10_000  # for a stream to open, and for each of its frames
_MAX_FRAMES = 2**40  # OpenCV makes such numbers of a duration that is unknown
_MAX_FRAME_RATE = 1000  # from there on it is the time base of a stream whose rate is unknown
# The header's number is often an estimate from the duration, or counts frames that an edit list hides. A video is
# called incomplete when both frames and time lack more than this; less is a warning.
_TOLERATED = 0.05


class VideoSource:
    """The frames of a video file, an address or a camera. Iterating decodes them; iterating again starts anew.

    A file that ends before the frames that its header promises gives what there is, and then a frame whose ``read``
    raises an ImageError with both numbers. So does a camera that stops.

    Args:
        address: path, URL, stream address, or number of a camera.

    Raises:
        ImageError: it cannot be opened.
    """

    def __init__(self, address: str | int):
        self._address = address
        self._capture: cv2.VideoCapture | None = _open_capture(address)
        self.info = _read_info(self._capture, _public_name(address))

    @property
    def num_frames(self) -> int | None:
        """As the header says; None = unknown."""
        return self.info.num_frames

    def __iter__(self) -> Iterator[PendingFrame]:
        # A camera opens only once, so the first walk takes what the constructor opened.
        capture, self._capture = self._capture or _open_capture(self._address), None
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
        """The error of a video that ended after ``num_read`` frames, the last one shown at ``seconds``; None = none."""
        if num_read == 0:
            return ImageError(f"{self.info.name}: no frame can be decoded")
        if isinstance(self._address, int):
            return ImageError(f"{self.info.name}: no more frames came after {num_read}; is it still connected?")
        promised = self.info.num_frames
        if promised is None or num_read >= promised:
            return None
        message = f"{self.info.name}: it ends, or is damaged, after {num_read} of the {promised} frames it promises"
        least = (1 - _TOLERATED) * promised
        if num_read < least and seconds * self.info.frame_rate + 1 < least:
            return ImageError(message)
        logger.warning("%s", message)
        return None


def _open_capture(address: str | int) -> cv2.VideoCapture:
    name = _public_name(address)
    silence_ffmpeg()
    with silent_opencv():
        if isinstance(address, int):
            capture = cv2.VideoCapture(address)
        else:
            # CAP_FFMPEG alone: another backend would take "%03d" in a name for a numbered sequence of images.
            timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
            settings = [value for key in timeouts for value in (key, _TIMEOUT_MILLISECONDS)]
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, settings)
    if not capture.isOpened():
        raise ImageError(f"{name}: {_why_closed(address)}")
    return capture


def _why_closed(address: str | int) -> str:
    if isinstance(address, int):
        return "there is no such camera, or another program uses it"
    if address_scheme(address):
        return "no video came from there; check the address and the network"
    return "not a video, or an incomplete one, or one that OpenCV cannot decode"


def _read_info(capture: cv2.VideoCapture, name: str) -> VideoInfo:
    count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: frames of {width} x {height} pixels are more than the {MAX_PIXELS} that are read")
    return VideoInfo(
        name=name,
        frame_rate=rate if 0 < rate < _MAX_FRAME_RATE else 0.0,
        num_frames=int(count) if 0 < count < _MAX_FRAMES else None,
        size=(width, height),
    )


def _read_bgr(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame, uint8 (H, W, 3); None at the end."""
    with silent_opencv():
        is_read, pixels = capture.read()
    return pixels if is_read else None


def _make_frame(pixels: np.ndarray, name: str, index: int, video: VideoInfo) -> Frame:
    return Frame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), name, index=index, video=video)


def _public_name(address: str | int) -> str:
    if isinstance(address, int):
        return f"camera {address}"
    return public_address(address) if address_scheme(address) else address
