"""Drawing of detections, and plots."""

from ssd.visualization.drawing import draw_detections

__all__ = ["draw_detections"]
