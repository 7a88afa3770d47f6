"""first_batch.jpg shows the pixels that the network sees, and the priors that learn each object."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssd.config import load_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.engine import first_batch
from ssd.engine.first_batch import FirstBatch, draw_batch, make_first_batch
from ssd.engine.step import count_positives
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.utils.image import read_image


class Setting:
    """A detector, and the first batch of its training."""

    def __init__(self, config_file: Path):
        cfg = load_config(config_file, ["SOLVER.BATCH_SIZE", 6])
        datasets = build_datasets(cfg, is_train=True)
        self.names = datasets[0].class_names
        self.cfg = with_num_classes(cfg, self.names)
        self.model = build_detection_model(self.cfg)
        self.images, self.targets, _ = next(iter(make_train_loader(self.cfg, datasets)))
        self.transform = make_batch_transform(self.cfg, is_train=True)
        self.shown: list[np.ndarray] = []

    def make(self) -> FirstBatch:
        options = {"detector": self.model, "class_names": self.names, "show": self.shown.append}
        return make_first_batch(self.cfg, self.transform, **options)


@pytest.fixture
def setting(config_file: Path) -> Setting:
    setting = Setting(config_file)
    Path(setting.cfg.OUTPUT_DIR).mkdir()
    return setting


def test_the_batch_stays_as_it_is_and_is_drawn_once(setting: Setting, tmp_path: Path) -> None:
    random = torch.get_rng_state()
    state = {name: value.clone() for name, value in setting.model.state_dict().items()}
    wrapped = setting.make()
    for iteration in (0, 1, 0 + 2):
        expected = setting.transform(setting.images, setting.targets, iteration)
        assert torch.equal(wrapped(setting.images, setting.targets, iteration), expected)
    assert len(setting.shown) == 1
    assert read_image(tmp_path / "out" / "first_batch.jpg").shape == setting.shown[0].shape
    assert torch.equal(torch.get_rng_state(), random)
    torch.testing.assert_close(dict(setting.model.state_dict()), state, rtol=0, atol=0)
    assert setting.model.training


def test_a_continued_training_has_no_first_batch(setting: Setting, tmp_path: Path) -> None:
    setting.make()(setting.images, setting.targets, 5)
    assert not setting.shown
    assert not (tmp_path / "out" / "first_batch.jpg").exists()


def test_pixels_captions_and_priors(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture gets what the network sees, and as many priors as the loss counts."""
    drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    captions: list[str] = []

    def draw(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, priors: np.ndarray, names: object) -> np.ndarray:
        drawn.append((image, boxes, priors))
        return image

    monkeypatch.setattr(first_batch, "_draw", draw)
    monkeypatch.setattr(first_batch, "mosaic", lambda tiles, columns, texts: captions.extend(texts) or tiles[0])
    inputs = setting.make()(setting.images, setting.targets, 0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (setting.cfg.INPUT.PIXEL_MEAN, [58.0, 57.0, 57.0]))
    counts = count_positives(setting.model, setting.targets).tolist()
    for row, (image, boxes, priors) in enumerate(drawn):
        pixels = (inputs[row] * std + mean).round().clamp(0, 255).permute(1, 2, 0)
        assert np.array_equal(image, pixels.numpy().astype(np.uint8))
        number = int((setting.targets["labels"][row] > 0).sum())
        assert len(boxes) == number
        assert len(priors) == (counts[row] if number else 0)
        assert captions[row] == f"{number} object{'s' * (number != 1)}, {len(priors)} prior{'s' * (len(priors) != 1)}"
    assert len(drawn) == 6


def test_no_more_than_sixteen_images(setting: Setting) -> None:
    images = setting.images.repeat(4, 1, 1, 1)
    targets = Container(**{name: setting.targets[name].repeat_interleave(4, 0) for name in setting.targets})
    setting.make()(images, targets, 0)
    height, width, _ = setting.shown[0].shape
    assert 4 * 300 < height < 5 * 340  # four rows of pictures 400 wide and 300 high
    assert 4 * 400 < width < 4 * 420


def test_a_head_that_does_not_match(setting: Setting) -> None:
    del setting.model.box_head.assign_targets
    images = setting.images.permute(0, 2, 3, 1).numpy()
    assert draw_batch(images, setting.targets, setting.model, setting.names).ndim == 3


def test_a_picture_that_cannot_be_written_ends_nothing(
    setting: Setting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").rmdir()
    setting.make()(setting.images, setting.targets, 0)
    assert len(setting.shown) == 1
    assert "first batch is missing" in caplog.text
