"""Every shipped config builds, trains, detects, saves and loads, also at other sizes than its own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.efficient_net import MBConvBlock
from ssd.modeling.backbone.stages import feature_shapes
from ssd.modeling.detector import build_detection_model
from ssd.modeling.detector.levels import build_levels
from ssd.modeling.neck import build_neck
from ssd.solver import make_optimizer
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, height_width
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.checkpoint_file import read_checkpoint
from tests.shipped_configs import CONFIGS, load_shipped

# Biases before a batch norm, whose gradient is zero but for rounding: SSDLite's, and the last inverted residual's on a
# map of one cell, where the header begins with a depthwise convolution and a batch norm.
TAKEN_BACK = re.compile(r".*_headers\.\d+\.conv\.0\.bias|backbone\.extras\.3\.conv\.3\.bias")

ImageSize = int | tuple[int, int]


def make_cases() -> Iterator[Any]:
    """Yield each config at two sizes; the larger, and networks of another config with fewer classes, are slow."""
    leaders: dict[tuple[str, ...], Path] = {}
    for path in sorted(CONFIGS, key=lambda path: (load_config(path).MODEL.NUM_CLASSES or 4, len(path.parts))):
        leaders.setdefault(network_of(path), path)
    for path in CONFIGS:
        marks = () if leaders[network_of(path)] == path else pytest.mark.slow
        yield pytest.param(path, (120, 260), 1, marks=marks, id=f"{path.stem}-120x260-one")
        yield pytest.param(path, 300, 2, marks=pytest.mark.slow, id=f"{path.stem}-300-two")


def network_of(path: Path) -> tuple[str, ...]:
    """Return backbone, neck and predictor of a config."""
    model = load_config(path).MODEL
    return model.BACKBONE.NAME, model.NECK.NAME, model.BOX_HEAD.PREDICTOR


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_levels_and_priors_fit_the_network(path) -> None:
    config = load_shipped(path)
    assert f"outputs/{path.stem}" == config.OUTPUT_DIR
    with torch.device("meta"):
        build_detection_model(config)


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.parent.name == "modern"], ids=lambda path: path.stem)
def test_overlays_of_modern_configs(path, tmp_path) -> None:
    overlays = [path.parent / "parts" / name for name in ("voc.yaml", "512.yaml")]
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {json.dumps([str(file) for file in [path, *overlays]])}\n")
    config = load_shipped(tmp_path / "mine.yaml")
    assert (config.INPUT.IMAGE_SIZE, config.MODEL.NUM_CLASSES, config.MODEL.NECK.NAME) == (512, 21, "fpn")
    with torch.device("meta"):
        model = build_detection_model(config)
    assert len(model.box_head.prior_box.feature_maps) == 5


@pytest.mark.parametrize(("path", "image_size", "num_images"), [*make_cases()])
def test_builds_trains_detects_saves_and_loads(path, image_size, num_images, tmp_path) -> None:
    config = resized(load_shipped(path), image_size)
    config.TEST.CONFIDENCE_THRESHOLD = 0.0  # a new head finds nothing
    model = build(config)
    images = random_images(config, num_images)
    check_training_step(config, model, images)

    detections = detect(model, images)
    assert len(detections) == num_images
    for found in detections:
        assert 0 < len(found["scores"]) <= config.TEST.MAX_PER_IMAGE
        assert found["boxes"].isfinite().all()
        assert (found.img_height, found.img_width) == height_width(image_size)

    Checkpointer(model, save_dir=tmp_path).save("model")
    for tensor in model.state_dict().values():
        tensor.zero_()
    Checkpointer(model).restore(read_checkpoint(tmp_path / "model.pth"), "model.pth")
    (tmp_path / "model.pth").unlink()  # up to 150 MB, and pytest keeps its folders
    for again, found in zip(detect(model, images), detections, strict=True):
        for name in found:
            assert torch.equal(again[name], found[name]), name


def resized(config: Config, image_size: ImageSize) -> Config:
    """The config for another input: priors in proportion to it, and as many levels as the backbone has there."""
    if height_width(config.INPUT.IMAGE_SIZE) == height_width(image_size):
        return config
    factor = min(height_width(image_size)) / min(height_width(config.INPUT.IMAGE_SIZE))
    config = config.clone()
    config.INPUT.IMAGE_SIZE = image_size
    with torch.device("meta"):
        backbone = build_backbone(config, False)
        network = nn.Sequential(backbone, build_neck(config, backbone))
        num_levels = len(feature_shapes(network, height_width(image_size)))
    priors = config.MODEL.PRIORS
    priors.MIN_SIZES = of_length(num_levels, [size * factor for size in priors.MIN_SIZES])
    priors.MAX_SIZES = of_length(num_levels, [size * factor for size in priors.MAX_SIZES])
    priors.ASPECT_RATIOS = of_length(num_levels, priors.ASPECT_RATIOS)
    if priors.SHAPES:
        scaled = [[(width * factor, height * factor) for width, height in level] for level in priors.SHAPES]
        priors.SHAPES, priors.OFFSETS = of_length(num_levels, scaled), []
    priors.FEATURE_MAPS, priors.STRIDES, priors.BOXES_PER_LOCATION = [], [], []
    config.MODEL.BACKBONE.OUT_CHANNELS = ()
    return config


def of_length(num_levels: int, values: list) -> list:
    """Cut the list, or repeat its last value."""
    return (values + values[-1:] * num_levels)[:num_levels]


def build(config: Config) -> nn.Module:
    """The detector in the memory format that train.py gives it."""
    model = build_detection_model(config).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, MBConvBlock):
            module.drop_connect = 0.0  # chance would leave some blocks without a gradient
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)  # timm starts residual branches at zero: no gradient enters in the first step
    return model


def random_images(config: Config, num_images: int) -> Tensor:
    pixels = torch.randint(256, (num_images, 3, *height_width(config.INPUT.IMAGE_SIZE)), dtype=torch.uint8)
    return make_batch_transform(config, is_train=False)(pixels)


def check_training_step(config: Config, model: nn.Module, images: Tensor) -> None:
    """Take one step; losses and gradients are finite, and no parameter goes without."""
    optimizer = make_optimizer(config, model)
    losses = model.train()(images, one_object_a_level(config, model, len(images)))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    assert [name for name, grad in gradients.items() if not grad.any() and not TAKEN_BACK.fullmatch(name)] == []
    optimizer.step()


def one_object_a_level(config: Config, model: nn.Module, num_images: int) -> Container:
    """Objects that equal the most central prior of each level, in the first image; none in the others."""
    levels = build_levels(config, nn.Sequential(model.backbone, model.neck))
    counts = zip(levels.feature_maps, levels.boxes_per_location, strict=True)
    priors = model.box_head.priors.split([height * width * count for (height, width), count in counts])
    central = [level[(level[:, :2] - 0.5).abs().sum(dim=1).argmin()] for level in priors]
    boxes, labels = torch.zeros(num_images, len(priors), 4), torch.zeros(num_images, len(priors), dtype=torch.int64)
    boxes[0], labels[0] = center_to_corner(torch.stack(central)), 1
    return Container(boxes=boxes, labels=labels)


@torch.no_grad()
def detect(model: nn.Module, images: Tensor) -> list[Container]:
    return model.eval()(images)
