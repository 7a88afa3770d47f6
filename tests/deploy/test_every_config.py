"""Every shipped config exports, and what ONNX Runtime finds in ten images is what PyTorch finds.

``pytest -m slow --log-cli-level INFO`` on this file shows how near the two come.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn

from ssd.config import Config
from ssd.deploy import OnnxNetwork, export_onnx, make_metadata
from ssd.structures import Container
from tests.shipped_configs import CONFIGS, load_shipped

logger = logging.getLogger(__name__)


@pytest.mark.slow
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "raw"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_onnx_finds_what_torch_finds_in_ten_images(
    path: Path,
    complete: bool,
    tmp_path: Path,
    make_detector: Callable[[Config], nn.Module],
    make_batch: Callable[[Config, int], Tensor],
    detect: Callable[..., list[Container]],
    check_same: Callable[..., tuple[float, float]],
) -> None:
    config = load_shipped(path)
    config.freeze()
    model = make_detector(config)
    names = ["__background__", *(f"class {label}" for label in range(1, config.MODEL.NUM_CLASSES))]
    file = export_onnx(model, tmp_path / "model.onnx", make_metadata(config, model, names), complete=complete)
    network = OnnxNetwork(file)
    file.unlink()  # up to 150 MB, and pytest keeps its folders

    images = make_batch(config, 10)
    expected = [found for part in images.split(5) for found in detect(config, model, part)]
    found = [found for part in images.split(5) for found in network(part)]
    box, score = check_same(config, found, expected, least=10)
    alone = [found for image in images for found in network(image[None])]
    alone_box, alone_score = check_same(config, alone, expected, least=10)
    differences = max(box, alone_box), max(score, alone_score)
    num_detections = sum(len(image["scores"]) for image in expected)
    logger.info("%s: boxes within %.1e px, scores %.1e, %d detections", path.stem, *differences, num_detections)
