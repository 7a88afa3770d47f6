"""Keeping OpenCV from writing to stderr what an exception of ours says."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

_lock = threading.Lock()
_num_inside = 0  # threads in silent_opencv
_level = cv2.utils.logging.LOG_LEVEL_WARNING  # to go back to


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
            _level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                cv2.utils.logging.setLogLevel(_level)


def silence_ffmpeg() -> None:
    """Keep OpenCV's FFmpeg quiet, unless the user has set its level; to be called before the first video."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
