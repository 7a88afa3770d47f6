"""The configs in configs/, for networks with random weights."""

from pathlib import Path

import pytest

from ssd.config import Config, load_config

_FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path for path in _FOLDER.rglob("*.yaml") if path.parent.name != "parts")


def load_shipped(path: Path) -> Config:
    """Load one without pretrained weights, to be changed; four classes where their number follows from the data.

    Where it needs timm and that is not installed, the test is skipped.
    """
    config = load_config(path, ["MODEL.BACKBONE.PRETRAINED", False]).clone()
    if config.MODEL.BACKBONE.NAME.startswith("timm/"):
        pytest.importorskip("timm")
    config.defrost()
    config.MODEL.NUM_CLASSES = config.MODEL.NUM_CLASSES or 4
    return config
