"""The evaluation loop: detections, validation losses and targets of test images."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd.config import Config, load_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_test_loader
from ssd.data.datasets import DetectionDataset
from ssd.engine.inference import detect, evaluate_datasets, gather_predictions, make_targets, mean_losses
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from tests.evaluation.sets import VOCSet


class Setting:
    """A detector with batch statistics, and the test images."""

    def __init__(self, config_file: Path, *overrides: object):
        cfg = load_config(config_file, overrides)
        self.dataset: DetectionDataset = build_datasets(cfg, is_train=False)[0]
        self.cfg: Config = with_num_classes(cfg, self.dataset.class_names)
        self.model = build_detection_model(self.cfg)
        self.model.train()
        with torch.no_grad():
            self.model.backbone(torch.randn(8, 3, 96, 128))
        self.transform = make_batch_transform(self.cfg, is_train=False)

    def measure(self, batch_size: int = 10, dtype: torch.dtype = torch.float32) -> dict[str, float]:
        loader = make_test_loader(self.cfg.with_overrides(["TEST.BATCH_SIZE", batch_size]), self.dataset)
        _, batches = detect(self.model, loader, self.transform, dtype=dtype, loss_dataset=self.dataset)
        return mean_losses(batches)

    @torch.no_grad()
    def expected(self) -> dict[str, float]:
        """All images as one batch."""
        ((images, sizes, ids),) = make_test_loader(self.cfg, self.dataset)
        predictions = self.model.eval().predict(self.transform(images))
        losses = self.model.box_head.losses(predictions, make_targets(self.dataset, sizes.tolist(), ids.tolist()))
        return {name: loss.item() for name, loss in losses.normalized().items()}


@pytest.fixture
def setting(config_file: Path) -> Setting:
    return Setting(config_file)


@pytest.mark.parametrize("batch_size", [4, 3, 1])
def test_losses_are_those_of_all_images_as_one_batch(setting: Setting, batch_size: int) -> None:
    losses, expected = setting.measure(batch_size), setting.expected()
    assert list(losses) == ["total_loss", "reg_loss", "cls_loss"]
    assert losses["total_loss"] == losses["reg_loss"] + losses["cls_loss"]
    assert {name: losses[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert losses["reg_loss"] > 0


def test_measuring_losses_changes_neither_detections_nor_the_model(setting: Setting) -> None:
    loader = make_test_loader(setting.cfg, setting.dataset)
    plain, none = detect(setting.model, loader, setting.transform)
    state = {name: value.clone() for name, value in setting.model.state_dict().items()}
    random = torch.get_rng_state()
    measured, losses = detect(setting.model, loader, setting.transform, loss_dataset=setting.dataset)
    assert (len(none), len(losses)) == (0, 1)
    assert_same_images(measured, plain)
    torch.testing.assert_close(dict(setting.model.state_dict()), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module.training for module in setting.model.modules())


def test_losses_are_computed_in_the_precision_of_the_network(setting: Setting) -> None:
    plain, short = setting.measure(), setting.measure(dtype=torch.bfloat16)
    assert short == pytest.approx(plain, rel=0.05)
    assert short != plain


def test_losses_come_with_the_metric(setting: Setting, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaders = {"scenes": make_test_loader(setting.cfg, setting.dataset)}
    caplog.set_level(logging.INFO, logger="ssd")
    (plain,) = evaluate_datasets(setting.model, loaders, setting.transform, output_dir=tmp_path)
    assert (plain.losses, "validation" in caplog.text) == ({}, False)
    (evaluation,) = evaluate_datasets(setting.model, loaders, setting.transform, output_dir=tmp_path, with_losses=True)
    assert evaluation.losses == setting.measure()
    assert f"total_loss: {evaluation.losses['total_loss']:.3f}, reg_loss: " in caplog.text


def test_targets_are_relative_clipped_and_without_difficult_objects() -> None:
    images = [[([10, 20, 60, 90], 2), ([0, 0, 5, 5], 1, True)], [], [([-4, 0, 50, 20], 1)]]
    targets = make_targets(VOCSet(images), [[100, 200], [50, 50], [40, 100]], [0, 1, 2])
    assert targets["labels"].tolist() == [[2, 0], [0, 0], [1, 0]]
    assert targets["boxes"][0].tolist() == [pytest.approx([0.05, 0.2, 0.3, 0.9]), [0, 0, 0, 0]]
    assert targets["boxes"][2, 0].tolist() == pytest.approx([0, 0, 0.5, 0.5])


def test_images_without_objects_have_a_loss(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    monkeypatch.setattr(setting.dataset, "get_annotation", lambda index: (str(index), nothing))
    losses = setting.measure()
    assert losses["reg_loss"] == 0
    assert 0 < losses["cls_loss"] == losses["total_loss"] < math.inf


def packed(count: int, **more: torch.Tensor) -> Container:
    boxes = torch.arange(4.0 * count).view(count, 4)
    prediction = Container(boxes=boxes, labels=torch.arange(count) + 1, scores=torch.linspace(1, 0, count), **more)
    prediction.img_width, prediction.img_height = 10 + count, 20 + count
    return prediction


def assert_same_images(found: list[Container], expected: list[Container]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (list(one), one.img_width, one.img_height) == (list(other), other.img_width, other.img_height)
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_one_process_gathers_its_own() -> None:
    predictions = [packed(0), packed(3)]
    assert gather_predictions(predictions) is predictions


def test_no_images() -> None:
    assert mean_losses([]) == {}
