"""Batch norms that a file has folded: they keep their statistics, or get those of images."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssd.config import Config
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.modeling.layers import BatchNorm2d
from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import ImageError
from ssd.utils.image import read_image, write_image
from ssd.weights.convert import estimate_norms, folded_norms
from ssd.weights.formats.layouts import folded_norm
from ssd.weights.initial_model import build_new_model
from tests.tiny import tiny_config

CLASSES = (BACKGROUND, "cat")


def config(*overrides: object) -> Config:
    return tiny_config("MODEL.NUM_CLASSES", 2, "INPUT.PIXEL_STD", [57, 57, 57], *overrides)


def make_folded() -> SSDDetector:
    """A detector without batch norms of its own."""
    torch.manual_seed(0)
    model = build_detection_model(config())
    for layer in model.modules():
        if isinstance(layer, BatchNorm2d):
            layer.load_state_dict(folded_norm(torch.randn(layer.num_features)))
    return model.eval()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(10):
        write_image(np.random.default_rng(seed).integers(0, 256, (96, 96, 3), np.uint8), folder / f"{seed}.png")
    return folder


def test_new_batch_norms_are_not_folded() -> None:
    assert folded_norms(build_detection_model(config())) == []
    with torch.device("meta"):
        assert folded_norms(build_detection_model(config())) == []


def test_a_folded_norm_stays_in_evaluation_mode() -> None:
    norm = BatchNorm2d(3)
    norm.load_state_dict(folded_norm(torch.tensor([1.0, 2, 3])))
    features = torch.randn(4, 3, 5, 5)
    for mode in (False, True):
        found = norm.train(mode)(features)
        torch.testing.assert_close(found, features + torch.tensor([1.0, 2, 3])[:, None, None])
    assert norm.is_folded
    found.sum().backward()
    assert norm.bias.grad is not None


def test_a_training_keeps_them_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(make_folded().state_dict(), tmp_path / "a.pth")
    cfg = config("MODEL.WEIGHTS", str(tmp_path / "a.pth"), "MODEL.WEIGHTS_CLASSES", ["cat"])
    with caplog.at_level(logging.WARNING):
        model = build_new_model(cfg, CLASSES)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert f"{len(norms)} batch norms of {tmp_path / 'a.pth'} are folded" in caplog.text
    assert model.training
    assert not any(norm.training for norm in norms)


def test_statistics_of_images_change_no_output(images: Path) -> None:
    model, cfg = make_folded(), config()
    pixels = torch.randn(6, 3, 96, 96)
    with torch.no_grad():
        before = model.predict(pixels)
        count = len(folded_norms(model))
        estimate_norms(model, cfg, images)
        after = model.predict(pixels)
        for one, other in zip(after, before, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert (count > 5, folded_norms(model)) == (True, [])

        # In training mode the first norm has nearly the statistics of a batch: those of the images.
        stored = torch.stack([torch.from_numpy(read_image(path)) for path in sorted(images.iterdir())])
        batch = (stored.permute(0, 3, 1, 2) - torch.tensor([123.0, 117, 104])[:, None, None]) / 57
        for one, other in zip(model.train().predict(batch), model.eval().predict(batch), strict=True):
            torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=str(tmp_path)):
        estimate_norms(make_folded(), config(), tmp_path)
