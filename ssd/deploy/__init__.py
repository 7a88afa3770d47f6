"""Detectors outside PyTorch: exporting them, and running what was exported."""

from ssd.deploy.export import export_onnx, export_program
from ssd.deploy.metadata import Metadata, make_metadata, read_metadata, side_car, write_metadata
from ssd.deploy.onnx_detector import OnnxDetector, OnnxNetwork
from ssd.deploy.openvino_detector import OpenVinoDetector, OpenVinoNetwork

__all__ = [
    "Metadata",
    "OnnxDetector",
    "OnnxNetwork",
    "OpenVinoDetector",
    "OpenVinoNetwork",
    "export_onnx",
    "export_program",
    "make_metadata",
    "read_metadata",
    "side_car",
    "write_metadata",
]
