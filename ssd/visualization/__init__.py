"""Drawing of detections, and videos of the drawings."""

from ssd.visualization.drawing import draw_detections
from ssd.visualization.video import VideoWriter

__all__ = ["VideoWriter", "draw_detections"]
