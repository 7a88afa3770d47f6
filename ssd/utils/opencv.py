"""Messages of OpenCV, and of the FFmpeg in it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

_log: Any = getattr(cv2.utils, "logging", cv2)  # has get- and setLogLevel; before OpenCV 5 it is cv2 itself
_SILENT = 0  # cv::utils::logging::LOG_LEVEL_SILENT, which OpenCV 4 does not name in Python
_log_lock = threading.Lock()
_num_silent = 0  # threads in silent_opencv
_log_level: int = _log.getLogLevel()  # to go back to


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Switch off OpenCV's messages inside the block, in the whole process until the last thread has left."""
    global _num_silent, _log_level
    with _log_lock:
        _num_silent += 1
        if _num_silent == 1:
            _log_level = _log.setLogLevel(_SILENT)
    try:
        yield
    finally:
        with _log_lock:
            _num_silent -= 1
            if _num_silent == 0:
                _log.setLogLevel(_log_level)


def silence_ffmpeg() -> None:
    """Silence OpenCV's FFmpeg, unless the user has set its level; call it before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
