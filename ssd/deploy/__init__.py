"""Detectors outside PyTorch: export, and running exported files."""

from ssd.deploy.export import export_onnx, export_program
from ssd.deploy.metadata import Metadata, make_metadata, read_metadata, side_car, write_metadata
from ssd.deploy.runtimes import OnnxDetector, OnnxNetwork, OpenVinoDetector, OpenVinoNetwork

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
