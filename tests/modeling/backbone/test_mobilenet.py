"""MobileNet V1 against arrays recorded from the qfgaohao port, V2 against torchvision; test_goldens.py: lufficc/SSD."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.mobilenet import MobileNetV1
from ssd.modeling.backbone.mobilenetv2 import PRETRAINED_URL, MobileNetV2
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError, ConfigError
from tests.hashed import hashed
from tests.modeling.backbone.outputs import outputs_at

NAMES = ["mobilenet_v1", "mobilenet_v1_separable", "mobilenet_v2", "mobilenet_v2_expansion", "mobilenet_v2_separable"]
# Our names and those of the qfgaohao port begin differently, and go on equally.
QFGAOHAO = {
    "backbone.features": "base_net",
    "backbone.extras": "extras",
    "box_head.predictor.cls_headers": "classification_headers",
    "box_head.predictor.reg_headers": "regression_headers",
}


def qfgaohao_name(name: str) -> str:
    ours = next(prefix for prefix in QFGAOHAO if name.startswith(f"{prefix}."))
    return QFGAOHAO[ours] + name.removeprefix(ours)


@torch.no_grad()
def test_v1_is_the_detector_of_the_qfgaohao_port(goldens: Path) -> None:
    config = load_config(Path(__file__).parents[3] / "configs" / "mobilenet_v1_ssd300_voc0712.yaml")
    model = build_detection_model(config, pretrained=False).eval()
    weights = {qfgaohao_name(name): tensor for name, tensor in model.state_dict().items()}
    listing = json.loads((goldens / "statedicts" / "qfgaohao_mb1-ssd_voc.json").read_text())
    assert [(name, list(tensor.shape)) for name, tensor in weights.items()] == list(listing["state_dict"].items())
    assert sum(p.numel() for p in model.parameters()) == listing["n_params"]

    golden = np.load(goldens / "peers" / "qfgaohao_mb1-ssd_voc.npz")
    np.testing.assert_array_equal(model.box_head.priors, golden["priors_all"])
    model.load_state_dict({key: hashed(qfgaohao_name(key), t.shape) for key, t in model.state_dict().items()})
    image = torch.from_numpy(np.random.RandomState(7).normal(0, 1, (1, 3, 300, 300)).astype(np.float32))
    cls_logits, bbox_pred = model.box_head.predictor(model.backbone(image))
    recorded = golden["prior_index"]
    np.testing.assert_allclose(cls_logits[:, recorded], golden["class_logits"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(bbox_pred[:, recorded], golden["box_deltas"], rtol=1e-3, atol=1e-5)


@pytest.fixture
def from_torchvision(tmp_path: Path, randomise: Callable[[nn.Module], None]) -> tuple[str, nn.Module]:
    """A file of torchvision's MobileNetV2 with random weights, and that network."""
    reference = models.mobilenet_v2(weights=None)
    randomise(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth"), reference


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_v2_features_from_a_file_of_torchvision_are_torchvisions(
    from_torchvision: tuple[str, nn.Module], training: bool
) -> None:
    source, reference = from_torchvision
    model = registry.BACKBONES["mobilenet_v2"](load_config(None), source)
    model, reference = model.double().train(training), reference.features.double().train(training)
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    expected = outputs_at((13, 18), reference, images)
    for ours, theirs in zip(model(images), expected, strict=False):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for name, tensor in reference.state_dict().items():  # the statistics too, in training
        torch.testing.assert_close(model.features.state_dict()[name], tensor, msg=name)


def test_weights_in_half_precision_become_float32(from_torchvision: tuple[str, nn.Module]) -> None:
    source, reference = from_torchvision
    halves = {
        f"features.{name}": t.half() if t.dim() == 4 else t for name, t in reference.features.state_dict().items()
    }
    torch.save(halves, source)
    model = registry.BACKBONES["mobilenet_v2"](load_config(None), source)
    loaded = model.state_dict()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, value in halves.items():
        assert torch.equal(loaded[name], value.to(loaded[name].dtype)), name


def published(kind: str) -> dict[str, Tensor]:
    """A state dict of the layout of a published file, with random weights and a classifier."""
    if kind.startswith("mobilenet_v2"):
        return {**without_extras(MobileNetV2()), "classifier.1.weight": torch.zeros(1000, 1280)}
    weights = without_extras(MobileNetV1())
    prefix = "model." if kind.endswith("model") else ""
    weights = {prefix + name.removeprefix("features."): value for name, value in weights.items()}
    return {**weights, "fc.weight": torch.zeros(1000, 1024)} if prefix else weights


def without_extras(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("extras.")}


@pytest.mark.parametrize("kind", ["mobilenet_v1 under model", *NAMES])
def test_published_weights_fill_all_but_the_extras(kind: str, tmp_path: Path) -> None:
    weights = published(kind)
    torch.save(weights, tmp_path / "weights.pth")
    build_backbone = registry.BACKBONES[kind.split()[0]]
    torch.manual_seed(5)
    model = build_backbone(load_config(None), str(tmp_path / "weights.pth"))
    torch.manual_seed(5)
    initial = build_backbone(load_config(None), False).state_dict()
    values = list(weights.values())
    for index, (name, value) in enumerate(model.state_dict().items()):
        assert torch.equal(value, initial[name] if name.startswith("extras.") else values[index]), name


def test_weights_of_the_other_version_are_refused(tmp_path: Path) -> None:
    torch.save(published("mobilenet_v1"), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        registry.BACKBONES["mobilenet_v2"](load_config(None), str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v1_separable"])
def test_v1_has_no_default_weights(name: str) -> None:
    with pytest.raises(ConfigError, match="has no default weights"):
        registry.BACKBONES[name](load_config(None), True)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_expansion", "mobilenet_v2_separable"])
def test_true_asks_for_the_documented_file(name: str, serve: Callable[[dict[str, Tensor]], list[str]]) -> None:
    asked = serve(published(name))
    registry.BACKBONES[name](load_config(None), True)
    assert asked == [PRETRAINED_URL]
