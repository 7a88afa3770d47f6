"""The commands train, test and demo, which the scripts of these names call too, and doctor; ssd.cli has the others."""

import os

# Read when OpenCV is imported, and at its first video. Our own errors name the file and the cause.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
