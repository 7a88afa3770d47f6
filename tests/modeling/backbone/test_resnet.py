"""ResNet: maps and channels, torchvision and recordings of NVIDIA's and MLPerf's SSD300 as oracles, weights."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone import resnet
from ssd.modeling.backbone.shapes import feature_shapes
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError

CONFIGS = Path(__file__).parents[3] / "configs"


def build(name: str, image_size: object, pretrained: bool | str = False) -> resnet.ResNet:
    return registry.BACKBONES[name](load_config(None, ["INPUT.IMAGE_SIZE", image_size]), pretrained)


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "maps"),
    [
        ("resnet18", 300, [256, 512, 512, 256, 256, 128], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        ("resnet34", 300, [256, 512, 512, 256, 256, 256], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        ("resnet101", 300, [1024, 512, 512, 256, 256, 256], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        ("resnet50", 512, [1024, 512, 512, 256, 256, 256, 256], [(n, n) for n in (64, 32, 16, 8, 4, 2, 1)]),
        ("resnet34_mlperf", 300, [256, 512, 512, 256, 256, 256], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        # 28 cells halve to 14, 7 and 4; the first unpadded block leaves 2, which the second would make vanish.
        ("resnet18", (224, 321), [256, 512, 512, 256, 256], [(28, 41), (14, 21), (7, 11), (4, 6), (2, 4)]),
    ],
)
def test_maps(name: str, image_size: object, channels: list[int], maps: list[tuple[int, int]]) -> None:
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    shapes = feature_shapes(build(name, image_size), size)  # type: ignore[arg-type]
    assert shapes == [(c, *cells) for c, cells in zip(channels, maps, strict=True)]


def torchvision_model(depth: int) -> nn.Module:
    """A random network of torchvision whose batch norms are as if trained."""
    model = torchvision.models.get_model(f"resnet{depth}", weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(("depth", "counters"), [(18, True), (18, False), (50, True)])
def test_weights_of_torchvision_give_its_features(depth: int, counters: bool, tmp_path: Path) -> None:
    oracle = torchvision_model(depth)
    weights = {key: value for key, value in oracle.state_dict().items() if counters or "num_batches" not in key}
    torch.save(weights, tmp_path / "resnet.pth")
    model = build(f"resnet{depth}", 96, str(tmp_path / "resnet.pth")).eval()

    strided = oracle.layer3[0].conv2 if depth >= 50 else oracle.layer3[0].conv1
    strided.stride = oracle.layer3[0].downsample[0].stride = (1, 1)
    images = torch.randn(1, 3, 64, 80)
    expected = oracle.maxpool(oracle.relu(oracle.bn1(oracle.conv1(images))))
    expected = oracle.layer3(oracle.layer2(oracle.layer1(expected)))
    torch.testing.assert_close(model(images)[0], expected, rtol=1e-5, atol=1e-5)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision_model(18).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match="does not fit"):
        build("resnet34", 300, str(tmp_path / "resnet18.pth"))


@pytest.mark.parametrize("depth", sorted(resnet.PRETRAINED_URLS))
def test_urls_are_those_of_torchvision(depth: int) -> None:
    assert torchvision.models.get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"].url == resnet.PRETRAINED_URLS[depth]


@pytest.mark.parametrize(("name", "batch_size"), [("resnet18", 1), ("resnet34_mlperf", 2)])
def test_every_parameter_learns_down_to_one_image_on_one_cell(name: str, batch_size: int) -> None:
    model = build(name, 64).train()
    features = model(torch.randn(batch_size, 3, 64, 64))
    assert features[-1].shape[2:] == (1, 1)
    torch.stack([(feature * torch.randn_like(feature)).sum() for feature in features]).sum().backward()
    gradients = {key: weight.grad for key, weight in model.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    assert [key for key, grad in gradients.items() if not grad.any()] == []  # type: ignore[union-attr]


# The names that the references have, by pattern, and ours.
NVIDIA_NAMES = (
    (r"feature_extractor\.feature_extractor\.0\.", "backbone.conv1."),
    (r"feature_extractor\.feature_extractor\.1\.", "backbone.bn1."),
    (r"feature_extractor\.feature_extractor\.4\.", "backbone.layer1."),
    (r"feature_extractor\.feature_extractor\.5\.", "backbone.layer2."),
    (r"feature_extractor\.feature_extractor\.6\.", "backbone.layer3."),
)
MLPERF_NAMES = (
    (r"model\.layer1\.0\.", "backbone.conv1."),
    (r"model\.layer1\.1\.", "backbone.bn1."),
    (r"model\.layer1\.4\.", "backbone.layer1."),
    (r"model\.layer1\.5\.", "backbone.layer2."),
    (r"model\.layer2\.0\.", "backbone.layer3."),
)
SHARED_NAMES = (
    (r"additional_blocks\.", "backbone.extras."),
    (r"loc\.", "box_head.predictor.reg_headers."),
    (r"conf\.", "box_head.predictor.cls_headers."),
)
PEERS = ["nvidia_ssd300_resnet18_coco", "nvidia_ssd300_resnet34_coco", "nvidia_ssd300_resnet50_coco"]


@pytest.fixture(scope="module", params=[*PEERS, "mlperf_ssd300_resnet34_coco"])
def peer(request: pytest.FixtureRequest, goldens: Path) -> tuple[str, dict[str, list[int]], nn.Module]:
    """Name and listing of a reference, and our detector of its layout."""
    listing = json.loads((goldens / "statedicts" / f"{request.param}.json").read_text())["state_dict"]
    mlperf = request.param.startswith("mlperf")
    backbone = "resnet34_mlperf" if mlperf else request.param.split("_")[2]
    overrides = ["MODEL.BACKBONE.NAME", backbone]
    config = load_config(CONFIGS / f"resnet{34 if mlperf else 50}_ssd300_coco2017.yaml", overrides)
    return request.param, listing, build_detection_model(config, pretrained=False)


def our_name(name: str) -> str:
    for pattern, ours in (*NVIDIA_NAMES, *MLPERF_NAMES, *SHARED_NAMES):
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", ours, name)
    raise AssertionError(name)


def prior_major(header: Tensor, outputs: int) -> Tensor:
    """Reorder the channels of a header from (outputs, priors) to (priors, outputs)."""
    return header.unflatten(0, (outputs, -1)).transpose(0, 1).flatten(0, 1)


def test_state_dict_of_the_reference(peer: tuple[str, dict[str, list[int]], nn.Module]) -> None:
    _, listing, model = peer
    ours = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert {our_name(key): shape for key, shape in listing.items()} == ours
    backbone = [our_name(key) for key in listing if re.match(r"feature_extractor|model|additional", key)]
    assert backbone == [key for key in ours if key.startswith("backbone.")]


@torch.no_grad()
def test_outputs_of_the_reference(
    peer: tuple[str, dict[str, list[int]], nn.Module], goldens: Path, hashed: Callable[..., Tensor]
) -> None:
    name, listing, model = peer
    golden = np.load(goldens / "peers" / f"{name}.npz")
    weights = {key: hashed(key, shape) for key, shape in listing.items()}
    for key, value in weights.items():
        if key.startswith(("loc.", "conf.")):
            weights[key] = prior_major(value, 4 if key.startswith("loc.") else 81)
    model.load_state_dict({our_name(key): value for key, value in weights.items()})
    model.eval()

    image = np.random.RandomState(golden["input_seed"]).normal(0, 1, (1, 3, 300, 300)).astype(np.float32)
    outputs = [*model.box_head.predictor(model.backbone(torch.from_numpy(image))), model.box_head.priors[None]]
    index = torch.from_numpy(golden["prior_index"])
    cls_logits, bbox_pred, priors = (in_order_of_nvidia(output)[:, index].numpy() for output in outputs)
    for ours, theirs in ((cls_logits, golden["class_logits"]), (bbox_pred, golden["box_deltas"])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.std())
    np.testing.assert_allclose(priors[0], golden["priors"], atol=1e-6)


def in_order_of_nvidia(values: Tensor) -> Tensor:
    """Reorder (B, P, N) from (level, y, x, prior) to (level, prior, y, x)."""
    counts = (4, 6, 6, 6, 4, 4)
    levels = values.split([n * n * count for n, count in zip((38, 19, 10, 5, 3, 1), counts, strict=True)], dim=1)
    return torch.cat(
        [v.unflatten(1, (-1, n)).transpose(1, 2).flatten(1, 2) for v, n in zip(levels, counts, strict=True)], dim=1
    )


@pytest.mark.parametrize(
    ("config", "vgg_config"),
    [
        ("resnet18_ssd300_voc0712", "vgg_ssd300_voc0712"),
        ("resnet50_ssd300_voc0712", "vgg_ssd300_voc0712"),
        ("resnet34_ssd300_coco2017", "vgg_ssd300_coco_trainval35k"),
        ("resnet50_ssd300_coco2017", "vgg_ssd300_coco_trainval35k"),
        ("resnet50_ssd512_coco2017", "vgg_ssd512_coco_trainval35k"),
    ],
)
def test_priors_of_the_configs_are_those_of_vgg(config: str, vgg_config: str, goldens: Path) -> None:
    expected = np.load(goldens / "lufficc" / f"priors_{vgg_config}.npz")["priors"]
    model = build_detection_model(load_config(CONFIGS / f"{config}.yaml"), pretrained=False)
    assert torch.equal(model.box_head.priors, torch.from_numpy(expected))
