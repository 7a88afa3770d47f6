"""MobileNet V1 against arrays of the qfgaohao port, V2 and V3 against torchvision; test_goldens.py: lufficc/SSD."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.mobilenetv2 import MobileNetV2
from ssd.modeling.backbone.mobilenetv3 import Block, SqueezeExcitation
from ssd.modeling.backbone.mobilenetv3_qfgaohao import QfgaohaoInvertedResidual, QfgaohaoSqueezeExcitation
from ssd.modeling.detector import build_detection_model
from tests.hashed import hashed
from tests.modeling.backbone.outputs import outputs_at, watch

Pairs = Callable[[str, str, list[int]], tuple[nn.Module, nn.Module]]
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
def from_torchvision(tmp_path: Path, randomise: Callable[[nn.Module], None]) -> Pairs:
    """Our network with the random weights of a file of torchvision's network, and the layers of that, in float64."""

    def build(name: str, theirs: str, out_indices: list[int]) -> tuple[nn.Module, nn.Module]:
        reference = models.get_model(theirs, weights=None)
        randomise(reference)
        torch.save(reference.state_dict(), tmp_path / "weights.pth")
        config = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", out_indices])
        model = registry.BACKBONES[name](config, str(tmp_path / "weights.pth"))
        return model.double().eval(), reference.features.double().eval()

    return build


def assert_features(features: tuple[Tensor, ...], expected: list[Tensor]) -> None:
    for ours, theirs in zip(features, expected, strict=False):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # eps is float32 in V3's running variances


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_v2_features_are_torchvisions(from_torchvision: Pairs, training: bool) -> None:
    model, reference = from_torchvision("mobilenet_v2", "mobilenet_v2", [])
    model, reference = model.train(training), reference.train(training)
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    expected = outputs_at((13, 18), reference, images)
    assert_features(model(images), expected)
    for name, tensor in reference.state_dict().items():  # the statistics too, in training
        torch.testing.assert_close(model.features.state_dict()[name], tensor, msg=name)


@torch.no_grad()
def test_v3_features_are_those_of_torchvision_with_squeeze_before_activation(
    from_torchvision: Pairs, caplog: pytest.LogCaptureFixture
) -> None:
    model, reference = from_torchvision("mobilenet_v3", "mobilenet_v3_large", [])
    assert [record.levelno for record in caplog.records if "torchvision" in record.message] == [logging.WARNING]
    for stage in reference[1:16]:
        block = stage.block
        if len(block) == 4:  # expansion, filter, squeeze, projection
            conv, norm, activation = block[1]
            block[1], block[2] = nn.Sequential(conv, norm), nn.Sequential(block[2], activation)
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    assert_features(model(images), outputs_at((12, 16), reference, images))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "theirs", "out_indices", "channels"),
    [
        ("mobilenet_v2_expansion", "mobilenet_v2", [1, 7, 14, 18], [32, 192, 576, 1280]),
        ("mobilenet_v3_ssdlite", "mobilenet_v3_large", [1, 7, 13, 16], [16, 240, 672, 960]),
    ],
)
def test_maps_from_within_blocks_are_torchvisions_expansions(
    name: str, theirs: str, out_indices: list[int], channels: list[int], from_torchvision: Pairs
) -> None:
    model, reference = from_torchvision(name, theirs, out_indices)
    inner = out_indices[1:-1]
    blocks = {index: getattr(reference[index], "block" if "v3" in name else "conv") for index in inner}
    expansions = watch({index: block[0] for index, block in blocks.items()})
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    last = reference(images)
    features = model(images)
    assert [feature.shape[1] for feature in features[:4]] == channels
    # Block 1 does not expand.
    assert_features(features, [reference[0](images), *(expansions[index] for index in inner), last])


def test_weights_in_half_precision_become_float32(serve: Callable[[dict[str, Tensor]], list[str]]) -> None:
    weights = MobileNetV2().state_dict()
    halves = {name: t.half() if t.dim() == 4 else t for name, t in weights.items() if not name.startswith("extras.")}
    serve(halves)
    model = registry.BACKBONES["mobilenet_v2"](load_config(None), "weights.pth")
    loaded = model.state_dict()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, value in halves.items():
        assert torch.equal(loaded[name], value.to(loaded[name].dtype)), name


@torch.no_grad()
def test_separable_extra_layers_step_by_step() -> None:
    backbone = MobileNetV2(separable=True).eval()
    *_, before, features = backbone(torch.randn(1, 3, 128, 128))
    x = before
    for (conv, norm, _), stride, groups in zip(backbone.extras[3], (1, 2, 1), (1, 64, 1), strict=True):
        assert conv.bias is None
        x = F.conv2d(x, conv.weight, stride=stride, padding=conv.weight.shape[2] // 2, groups=groups)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5).clamp(0, 6)
    torch.testing.assert_close(features, x)


@torch.no_grad()
@pytest.mark.parametrize("kind", [SqueezeExcitation, QfgaohaoSqueezeExcitation])
def test_squeeze_and_excitation_by_hand(kind: type[nn.Module]) -> None:
    module = kind(32).eval()  # 32 // 4 = 8 channels
    reduce, widen = (layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d)))
    assert (reduce.weight.shape[:2], widen.weight.shape[:2]) == ((8, 32), (32, 8))
    biases = [reduce.bias, widen.bias] if kind is SqueezeExcitation else [module.weigh[2].bias, module.weigh[5].bias]
    nn.init.constant_(reduce.weight, 1 / 32)  # the mean over channels
    nn.init.constant_(widen.weight, 1 / 8)
    nn.init.zeros_(biases[0])
    nn.init.constant_(biases[1], -0.5)
    features = torch.ones(2, 32, 2, 2)
    features[0, :, 0, 0] = 5  # means 2 and 1; batch norms of variance 1 leave them
    # hard sigmoid (x + 3) / 6 of 2 - 0.5 and of 1 - 0.5
    expected = features * torch.tensor([4.5 / 6, 3.5 / 6])[:, None, None, None]
    torch.testing.assert_close(module(features), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("in_channels", "stride", "skip"),
    [(8, 1, "input"), (16, 1, "convolution"), (8, 2, None), (16, 2, None)],
)
def test_skips_of_the_qfgaohao_port(in_channels: int, stride: int, skip: str | None) -> None:
    """With a projection of zeros, the skip is left."""
    block = QfgaohaoInvertedResidual(in_channels, Block(3, 16, 8, True, False, stride)).eval()
    nn.init.zeros_(block.conv[6].weight)
    features = torch.randn(1, in_channels, 6, 6)
    expected = {"input": features, "convolution": block.shortcut(features), None: torch.zeros(1, 8, 3, 3)}[skip]
    torch.testing.assert_close(block(features), expected)
    assert any(True for _ in block.shortcut.parameters()) == (skip == "convolution")
