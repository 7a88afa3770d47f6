"""Fixtures shared by the whole suite."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ssd.config import Config, load_config
from ssd.data.scenes import write_scenes

# A detector so small that a training takes seconds.
SMALL_MODEL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "MODEL.DEVICE", "cpu"),
    *("INPUT.IMAGE_SIZE", (96, 128), "INPUT.PIXEL_STD", [58, 57, 57]),
    *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]], "DATA_LOADER.NUM_WORKERS", 0),
    *("SOLVER.WARMUP_ITERS", 10, "SOLVER.LR_STEPS", [], "SOLVER.BATCH_SIZE", 2),
]


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of arrays recorded by running other implementations (README there)."""
    return Path(__file__).parent / "goldens"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four test scenes in VOC layout."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, num_train=8, num_test=4, image_size=(128, 96), seed=0)
    return root


@pytest.fixture
def config_file(scenes: Path, tmp_path: Path) -> Path:
    """A config of the small model on the scenes that writes to tmp_path/out."""
    config = load_config(None, SMALL_MODEL).clone()
    config.defrost()
    config.MODEL.NUM_CLASSES = 0
    config.OUTPUT_DIR = str(tmp_path / "out")
    config.DATASETS.TRAIN, config.DATASETS.TEST = ("train_scenes",), ("test_scenes",)
    for name, split in (("train_scenes", "trainval"), ("test_scenes", "test")):
        config.DATASETS.CUSTOM[name] = Config({"FORMAT": "voc", "ROOT": str(scenes), "SPLIT": split})
    path = tmp_path / "small.yaml"
    path.write_text(config.dump())
    return path


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    """Undo what scripts do to the package's logger."""
    logger = logging.getLogger("ssd")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers, logger.level, logger.propagate = handlers, level, propagate
