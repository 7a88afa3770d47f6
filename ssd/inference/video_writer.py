"""Video files: H.264 by PyAV where it is installed, otherwise MPEG-4 part 2 (mp4v) by OpenCV."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ssd.utils.errors import OutputError, install_command, os_errors_as

logger = logging.getLogger(__name__)

_UNKNOWN_FRAME_RATE = 25.0  # written where the source has none: PAL's
_MAX_DENOMINATOR = 1001  # of a frame rate: 29.97 frames per second are 30000/1001
_MIN_TICKS = 90_000  # units of time in a second: those of MPEG, or more
_H264_OPTIONS = {"preset": "veryfast", "crf": "21"}  # the network needs the cores; text stays sharp
_ITU_601 = 5  # FFmpeg's matrix from RGB to YUV; players assume another one for large untagged pictures


class VideoWriter:
    """Writes RGB frames as an MP4 file, which replaces ``path`` when it is complete.

    A context, which completes the file with the frames so far when it ends, also by an error or Ctrl-C. The first frame
    sets the size; later ones are resized to it. Odd sides grow by a pixel, since both codecs halve the resolution of
    colours. A frame rate of 0 = unknown is written as 25. H.264 keeps the exact time of each frame; mp4v has a constant
    rate, so frames are repeated, or left out where several have the same place.
    """

    def __init__(self, path: Path, frame_rate: float):
        self.path = path
        self.frame_rate = Fraction(frame_rate or _UNKNOWN_FRAME_RATE).limit_denominator(_MAX_DENOMINATOR)
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
        self._size = (0, 0)
        self._next = 0.0  # seconds
        self._encoder: _H264Encoder | _Mp4vEncoder | None = None

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append a frame, RGB uint8 (H, W, 3); raise OutputError if the file cannot be written.

        ``time`` is in seconds from the start; None = that of the frame before, and one step of the frame rate.
        """
        time = self._next if time is None else time
        self._next = time + float(1 / self.frame_rate)
        with os_errors_as(OutputError, self.path):
            if self._encoder is None:
                self._size = width, height = image.shape[1], image.shape[0]
                even_size = width + width % 2, height + height % 2
                self._encoder = _open_encoder(self._temporary, even_size, self.frame_rate)
            if self._size != image.shape[1::-1]:
                image = cv2.resize(image, self._size, interpolation=cv2.INTER_LINEAR)
            bottom, right = image.shape[0] % 2, image.shape[1] % 2
            self._encoder.write(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE), time)

    def close(self) -> None:
        """Complete the file; without a frame there is none."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        try:
            with os_errors_as(OutputError, self.path):
                encoder.close()
                if not cv2.VideoCapture(str(self._temporary)).isOpened():  # OpenCV writes without errors
                    raise OSError("the video is incomplete; is the disk full?")
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_encoder(path: Path, size: tuple[int, int], frame_rate: Fraction) -> "_H264Encoder | _Mp4vEncoder":
    """Return the best available encoder for frames of an even size; the log says how to get a better one."""
    try:
        return _H264Encoder(path, size, frame_rate)
    except ImportError:
        remedy = install_command("video")
        logger.warning("Videos are written as mp4v, which browsers do not play. For H.264 install `video`: %s", remedy)
        return _Mp4vEncoder(path, size, frame_rate)


class _H264Encoder:
    def __init__(self, path: Path, size: tuple[int, int], frame_rate: Fraction):
        import av

        self._frame_type = av.VideoFrame
        self._ticks = frame_rate.numerator * -(-_MIN_TICKS // frame_rate.numerator)  # a step is a whole number of them
        self._last = -1  # ticks
        with _as_os_error():
            # "faststart" writes the index first, so that a browser plays the file while it loads.
            self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
            self._stream = self._container.add_stream("h264", rate=frame_rate, options=_H264_OPTIONS)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"  # the only one that every player knows
        self._stream.codec_context.colorspace = _ITU_601
        self._stream.codec_context.time_base = Fraction(1, self._ticks)

    def write(self, image: np.ndarray, time: float) -> None:
        frame = self._frame_type.from_ndarray(image, format="rgb24")
        self._last = max(round(time * self._ticks), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, self._ticks)
        with _as_os_error():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        with _as_os_error():
            self._container.mux(self._stream.encode(None))
            self._container.close()


class _Mp4vEncoder:
    def __init__(self, path: Path, size: tuple[int, int], frame_rate: Fraction):
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), float(frame_rate), size)
        if not self._writer.isOpened():
            raise OSError("OpenCV cannot open it for writing; does the folder exist and have room?")
        self._frame_rate = frame_rate
        self._num_frames = 0
        self._last: np.ndarray | None = None

    def write(self, image: np.ndarray, time: float) -> None:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        place = round(time * self._frame_rate)
        for _ in range(self._num_frames, place):
            self._writer.write(bgr if self._last is None else self._last)
        if place >= self._num_frames:
            self._writer.write(bgr)
        self._num_frames, self._last = max(self._num_frames, place + 1), bgr

    def close(self) -> None:
        self._writer.release()


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise FFmpeg's errors as OSError."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise OSError(str(error)) from error
