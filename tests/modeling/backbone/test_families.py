"""Checks of every family: maps, batches, gradients, folding and export, published weights."""

import re

import pytest
import torch
from torch import nn
from torchvision import models

from ssd.config import load_config
from ssd.inference.torch_network import fold_batch_norms
from ssd.modeling import registry
from ssd.modeling.backbone import efficient_net, mobilenetv2, mobilenetv3, resnet, squeezenet, vgg
from ssd.modeling.backbone.stages import feature_shapes
from ssd.utils.errors import CheckpointError, ConfigError
from tests.modeling.backbone.outputs import randomise, squares

CHANNELS = {
    "mobilenet_v1": [512, 1024, 512, 256, 256, 256],
    "mobilenet_v1_separable": [512, 1024, 512, 256, 256, 256],
    "mobilenet_v2": [96, 1280, 512, 256, 256, 64],
    "mobilenet_v2_expansion": [576, 1280, 512, 256, 256, 64],
    "mobilenet_v2_separable": [96, 1280, 512, 256, 256, 128],
    "mobilenet_v3": [112, 960, 512, 256, 256, 64],
    "mobilenet_v3_ssdlite": [672, 960, 512, 256, 256, 128],
    "mobilenet_v3_ssdlite_reduced": [672, 480, 512, 256, 256, 128],
    "mobilenet_v3_large_qfgaohao": [112, 960, 512, 256, 256, 64],
    "mobilenet_v3_small_qfgaohao": [48, 576, 512, 256, 256, 64],
}
SQUEEZENET = [512, 512, 512, 256, 256, 256]
EFFICIENT_NET = [40, 112, 320, 256, 256, 256]
RESNET, RESNET50 = [256, 512, 512, 256, 256, 256], [1024, 512, 512, 256, 256, 256, 256]
NAMES = [*CHANNELS, "efficient_net-b0", "squeezenet1_1", "resnet18", "resnet34_mlperf"]
# The last map of these has one cell from so small an image on; of the others, from (96, 128).
SMALLEST = {"efficient_net-b0": (32, 32), "resnet18": (64, 64), "resnet34_mlperf": (64, 64)}
# The others are folded and exported with their configs.
SELDOM = ["squeezenet1_1", *(name for name in CHANNELS if name.startswith(("mobilenet_v2_", "mobilenet_v3_")))]


def build(name: str, pretrained: bool | str = False, image_size: tuple[int, int] = (300, 300)) -> nn.Module:
    config = load_config(None, ["MODEL.BACKBONE.NAME", name, "INPUT.IMAGE_SIZE", image_size])
    return registry.BACKBONES[name](config, pretrained)


MOBILENET_MAPS = [
    ((320, 320), squares(20, 10, 5, 3, 2, 1)),
    ((300, 480), [(19, 30), (10, 15), (5, 8), (3, 4), (2, 2), (1, 1)]),
    ((33, 65), [(3, 5), (2, 3), (1, 2), (1, 1), (1, 1), (1, 1)]),
]


@pytest.mark.parametrize(
    ("name", "channels", "image_size", "maps"),
    [
        *((name, channels, *case) for name, channels in CHANNELS.items() for case in MOBILENET_MAPS),
        ("squeezenet1_1", SQUEEZENET, (300, 300), squares(17, 10, 5, 3, 2, 1)),
        ("squeezenet1_1", SQUEEZENET, (300, 480), [(17, 29), (10, 16), (5, 8), (3, 4), (2, 2), (1, 1)]),
        ("squeezenet1_1", SQUEEZENET, (33, 65), [(1, 3), (2, 3), (1, 2), (1, 1), (1, 1), (1, 1)]),
        ("efficient_net-b0", EFFICIENT_NET, (300, 300), squares(38, 19, 10, 5, 3, 1)),
        ("efficient_net-b0", EFFICIENT_NET, (320, 480), [(40, 60), (20, 30), (10, 15), (5, 8), (3, 6), (1, 4)]),
        ("efficient_net-b0", EFFICIENT_NET, (512, 512), squares(64, 32, 16, 8, 6, 4)),
        # no third extra layer: 2 - 3 + 1 = 0
        ("efficient_net-b0", EFFICIENT_NET[:5], (225, 300), [(29, 38), (15, 19), (8, 10), (4, 5), (2, 3)]),
        ("efficient_net-b0", EFFICIENT_NET[:4], (32, 32), squares(4, 2, 1, 1)),
        ("resnet18", [*RESNET[:5], 128], (300, 300), squares(38, 19, 10, 5, 3, 1)),
        ("resnet34", RESNET, (300, 300), squares(38, 19, 10, 5, 3, 1)),
        ("resnet101", RESNET50[:6], (300, 300), squares(38, 19, 10, 5, 3, 1)),
        ("resnet50", RESNET50, (512, 512), squares(64, 32, 16, 8, 4, 2, 1)),
        ("resnet34_mlperf", RESNET, (300, 300), squares(38, 19, 10, 5, 3, 1)),
        # 28 cells halve to 14, 7 and 4; the first unpadded block leaves 2, which the second would make vanish.
        ("resnet18", RESNET[:5], (224, 321), [(28, 41), (14, 21), (7, 11), (4, 6), (2, 4)]),
    ],
)
def test_maps(name, channels, image_size, maps) -> None:
    with torch.device("meta"):
        model = build(name, image_size=image_size)
    assert feature_shapes(model, image_size) == [(c, *cells) for c, cells in zip(channels, maps, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_evaluation_draws_nothing_and_a_batch_equals_its_images(name) -> None:
    model = build(name, image_size=(64, 96)).double().eval()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    state = torch.get_rng_state()
    features = model(images)
    assert torch.equal(torch.get_rng_state(), state)
    singles = [model(image[None]) for image in images]
    for level, feature in enumerate(features):
        torch.testing.assert_close(feature, torch.cat([single[level] for single in singles]))


@pytest.mark.parametrize("num_images", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_down_to_one_image_on_one_cell(name, num_images) -> None:
    size = SMALLEST.get(name, (96, 128))
    model = build(name, image_size=size).train()
    features = model(torch.randn(num_images, 3, *size))
    assert features[-1].shape[2:] == (1, 1)
    sum((feature * torch.randn_like(feature)).sum() for feature in features).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    if name.startswith(("resnet", "squeezenet")):  # elsewhere whole channels or blocks may be off
        assert [key for key, grad in gradients.items() if not grad.any()] == []


@torch.no_grad()
@pytest.mark.parametrize("name", SELDOM)
def test_batch_norms_fold_and_the_graph_exports(name) -> None:
    model = build(name).eval()
    randomise(model)
    images = torch.randn(1, 3, 64, 64)
    expected = model(images)
    folded = fold_batch_norms(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    exported = torch.export.export(model, (images,)).module()
    for features in (folded(images), exported(images)):
        for feature, same in zip(features, expected, strict=True):
            assert same.std() > 1e-2
            torch.testing.assert_close(feature, same, rtol=1e-4, atol=1e-4)


# Pattern in the names of the layers, its form in the published file, and the layers that only that has.
PUBLISHED = [
    ("efficient_net-b0", "", "", ["_conv_head", "_bn1", "_fc"]),
    ("mobilenet_v1", r"^features\.", "", []),
    ("mobilenet_v1", r"^features\.", "model.", ["fc"]),
    ("mobilenet_v1_separable", r"^features\.", "", []),
    ("mobilenet_v2", "", "", ["classifier.1"]),
    ("mobilenet_v2_expansion", "", "", ["classifier.1"]),
    ("mobilenet_v2_separable", "", "", ["classifier.1"]),
    *(("mobilenet_v3", r"^features\.16\.", last, ["classifier.0"]) for last in ("conv.", "conv.0.", "features.16.")),
    ("mobilenet_v3_ssdlite", r"(?<=\d)\.conv\.", ".block.", ["classifier.0"]),
    ("resnet18", "", "", ["layer4.0.conv1", "fc"]),
    ("squeezenet1_1", "", "", ["classifier.1"]),
]


@pytest.mark.parametrize(("name", "ours", "theirs", "unused"), PUBLISHED)
def test_published_weights_fill_all_but_the_extras(name, ours, theirs, unused, serve) -> None:
    other = build(name)
    randomise(other)
    published = {re.sub(ours, theirs, key): value for key, value in other.state_dict().items()}
    published = {key: value for key, value in published.items() if not key.startswith("extras.")}
    serve(published | {f"{layer}.weight": torch.zeros(5, 3) for layer in unused})
    torch.manual_seed(5)
    model = build(name, "weights.pth")
    torch.manual_seed(5)
    initial = build(name).state_dict()
    for key, value in model.state_dict().items():
        expected = initial[key] if key.startswith("extras.") else published[re.sub(ours, theirs, key)]
        if name == "mobilenet_v3_ssdlite" and key.endswith("running_var") and not key.startswith("extras."):
            expected = expected + (1e-3 - 1e-5)  # eps of the batch norms of torchvision and ours
        assert torch.equal(value, expected), key


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("efficient_net-b0", efficient_net.PRETRAINED_URLS["b0"]),
        *((name, mobilenetv2.PRETRAINED_URL) for name in CHANNELS if name.startswith("mobilenet_v2")),
        *(("mobilenet_v3", mobilenetv3.PRETRAINED_URL), ("mobilenet_v3_ssdlite", mobilenetv3.TORCHVISION_URL)),
        *(("resnet18", resnet.PRETRAINED_URLS[18]), ("squeezenet1_1", squeezenet.PRETRAINED_URL)),
        ("vgg", vgg.PRETRAINED_URL),
    ],
)
def test_true_asks_for_the_documented_file(name, url, serve) -> None:
    asked = serve({})
    with pytest.raises(CheckpointError, match=re.escape(url)):
        build(name, True)
    assert asked == [url]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("efficient_net-b1", lambda: build("efficient_net-b0")),
        ("mobilenet_v2", lambda: build("mobilenet_v1")),
        ("mobilenet_v3", lambda: models.mobilenet_v3_small(weights=None)),
        ("mobilenet_v3_ssdlite", lambda: models.mobilenet_v3_small(weights=None)),
        ("resnet34", lambda: models.resnet18(weights=None)),
        ("squeezenet1_1", lambda: models.squeezenet1_0(weights=None)),
    ],
)
def test_weights_of_another_network_are_refused(name, other, serve) -> None:
    serve(other().state_dict())
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        build(name, "weights.pth")


WITHOUT_WEIGHTS = ["mobilenet_v3_ssdlite_reduced", "mobilenet_v3_large_qfgaohao", "mobilenet_v3_small_qfgaohao", "tiny"]


def test_networks_without_published_weights() -> None:
    cases = [(name, pretrained) for name in WITHOUT_WEIGHTS for pretrained in (True, "weights.pth")]
    for name, pretrained in (*cases, ("mobilenet_v1", True), ("mobilenet_v1_separable", True)):
        with pytest.raises(ConfigError, match=r"MODEL\.BACKBONE\.PRETRAINED"):
            build(name, pretrained)
    with pytest.raises(ConfigError, match=r"'efficient_net-b3'"):
        registry.BACKBONES["efficientnet-b3"]
