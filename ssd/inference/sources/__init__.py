"""Images of any origin as frames: files, folders, addresses, videos, cameras, arrays."""

from ssd.inference.sources.frames import Frame, PendingFrame, Source, VideoInfo, read_ahead
from ssd.inference.sources.opening import open_source
from ssd.inference.sources.still_images import SingleImage
from ssd.inference.sources.video import VIDEO_SUFFIXES

__all__ = ["VIDEO_SUFFIXES", "Frame", "PendingFrame", "SingleImage", "Source", "VideoInfo", "open_source", "read_ahead"]
