"""Whatever a user calls images, as frames: files, folders, addresses, videos, cameras, arrays."""

from ssd.inference.sources.frames import Frame, PendingFrame, Source, VideoInfo
from ssd.inference.sources.opening import open_source
from ssd.inference.sources.read_ahead import read_ahead
from ssd.inference.sources.video import VIDEO_SUFFIXES

__all__ = ["VIDEO_SUFFIXES", "Frame", "PendingFrame", "Source", "VideoInfo", "open_source", "read_ahead"]
