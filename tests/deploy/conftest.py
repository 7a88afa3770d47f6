"""A small detector and its exported files, made once."""

from pathlib import Path

import pytest

from ssd.config import Config
from ssd.deploy import Metadata, export_onnx, export_program, make_metadata
from ssd.modeling.detector import SSDDetector
from tests.deploy.detectors import NAMES, make_detector, make_small_config


@pytest.fixture(scope="session")
def small_config() -> Config:
    return make_small_config()


@pytest.fixture(scope="session")
def small_detector(small_config: Config) -> SSDDetector:
    return make_detector(small_config)


@pytest.fixture(scope="session")
def metadata(small_config: Config, small_detector: SSDDetector) -> Metadata:
    return make_metadata(small_config, small_detector, NAMES)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, small_detector: SSDDetector, metadata: Metadata) -> Path:
    """A folder with complete.onnx, raw.onnx, complete.pt2 and raw.pt2 of the small detector."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in ("complete", "raw"):
        export_onnx(small_detector, folder / f"{kind}.onnx", metadata, complete=kind == "complete")
        export_program(small_detector, folder / f"{kind}.pt2", metadata, complete=kind == "complete")
    return folder
