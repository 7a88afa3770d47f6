"""Keeping OpenCV from writing to stderr what an exception of ours says."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

log_levels: Any = getattr(cv2.utils, "logging", cv2)  # has get- and setLogLevel; before OpenCV 5 it is cv2 itself
SILENT = 0  # cv::utils::logging::LOG_LEVEL_SILENT, which OpenCV 4 does not name in Python

_lock = threading.Lock()
_num_inside = 0  # threads in silent_opencv
_level: int = log_levels.getLogLevel()  # to go back to


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Switch OpenCV's messages off inside the block.

    Their level is the process's, so it comes back when the last thread has left. What the libraries below OpenCV
    (libpng, libjpeg) print by themselves is not its to silence.
    """
    global _num_inside, _level
    with _lock:
        _num_inside += 1
        if _num_inside == 1:
            _level = log_levels.setLogLevel(SILENT)
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                log_levels.setLogLevel(_level)


def silence_ffmpeg() -> None:
    """Keep OpenCV's FFmpeg quiet, unless the user has set its level; to be called before the first video."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
