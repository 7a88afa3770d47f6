"""The detector and its builder."""

from ssd.modeling.detector.build import build_detection_model
from ssd.modeling.detector.compiled_detector import CompiledDetector
from ssd.modeling.detector.ssd_detector import SSDDetector

__all__ = ["CompiledDetector", "SSDDetector", "build_detection_model"]
