"""Caffe: the reader on files written here, and networks against recordings of OpenCV under the same weights."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from ssd.config import parse_config
from ssd.utils.errors import CheckpointError
from ssd.weights.foreign import convert_foreign
from ssd.weights.formats.reading import CheckpointContent, read_weights
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from tests.fuzz.mutations import damaged
from tests.weights.formats import peers
from tests.weights.formats.caffemodel import blob, caffemodel, field, layer

SMALL = {"a.0": torch.arange(12.0).view(3, 1, 2, 2), "a.1": torch.tensor([1.0, -2, 3]), "b/dw.0": torch.ones(2)}


def write(folder: Path, data: bytes) -> str:
    path = folder / "net.caffemodel"
    path.write_bytes(data)
    return str(path)


def test_reads_blobs_of_all_versions(tmp_path: Path) -> None:
    numbers = SMALL["a.0"].numpy()
    shape = b"".join(field(number, side) for number, side in enumerate((3, 1, 2, 2), start=1))
    old = field(4, b"a") + field(6, shape + field(5, numbers.tobytes()))
    old += field(6, field(4, 3) + field(5, SMALL["a.1"].numpy().tobytes()))
    files = {
        "now": caffemodel(SMALL),
        "old": field(2, old) + caffemodel({"b/dw.0": SMALL["b/dw.0"]}),
        "half": caffemodel({name: SMALL[name] for name in ("a.1", "b/dw.0")}).replace(b"a", b"c", 1)
        + layer("a", "Convolution", [halved(SMALL["a.0"]), blob(SMALL["a.1"])]),
    }
    for data in files.values():
        found = read_weights(write(tmp_path, data)).weights
        for name, value in SMALL.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def halved(value: Tensor) -> bytes:
    """A blob as OpenCV shrinks it."""
    shape = bytes(value.shape)
    return field(7, field(1, shape)) + field(10, 2) + field(12, value.half().numpy().tobytes())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no layers"),
        (b"\x08\x01", "no layers"),
        (layer("a", "ReLU"), "1 layers, but without weights"),
        (layer("a", "Convolution", [field(7, field(1, b"\x05")) + field(5, bytes(16))]), r"a\.0 has 4 numbers.*\[5\]"),
        (layer("a", "Convolution", [field(10, 9) + field(12, b"abcd")]), r"a\.0.*type \[9\]"),
        (caffemodel(SMALL)[:-5], "damaged"),
        (b"<!DOCTYPE html>", "web page"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"net\.caffemodel: .*{message}"):
        read_weights(write(tmp_path, data))


def test_a_file_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text("name: 'a'")
    with pytest.raises(CheckpointError, match=r"deploy\.prototxt describes .*\.caffemodel"):
        read_weights(str(tmp_path / "deploy.prototxt"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(caffemodel(SMALL)))
def test_damage_is_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    try:
        weights = read_weights(write(tmp_path, data)).weights
    except CheckpointError as error:
        assert "net.caffemodel" in str(error)  # noqa: PT017
    else:
        assert sum(value.numel() for value in weights.values()) <= len(data) // 2


def convert(weights: Mapping[str, Tensor], content: Mapping[str, object] | None = None) -> LoadedCheckpoint:
    return convert_foreign(CheckpointContent("net.caffemodel", dict(weights), content or {}))


@pytest.mark.parametrize(("name", "shape"), [("conv1_1.0", (5,)), ("conv1_1.0", ()), ("conv4_3_norm_mbox_loc.1", (0,))])
def test_a_layer_of_another_shape_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    weights = {name: torch.zeros(()).expand(sizes) for name, sizes in peers.read_shapes("weiliu89_ssd300_voc").items()}
    with pytest.raises(CheckpointError, match=r"net\.caffemodel was recognised as VGG16"):
        convert({**weights, name: torch.zeros(shape)})


@pytest.mark.parametrize("name", ["weiliu89_ssd300_voc", "chuanqi305_mobilenet_ssd_voc"])
def test_network_agrees_with_opencv(name: str) -> None:
    weights = peers.fill(peers.read_shapes(name))
    detector = peers.build(peers.convert(weights))
    recorded = np.load(peers.GOLDENS / "foreign" / f"{name}.npz")
    priors = detector.model.box_head.priors
    np.testing.assert_allclose(priors, recorded["priors_all"], rtol=0, atol=1e-6)
    assert sum(parameter.numel() for parameter in detector.model.parameters()) >= peers.read_listing(name)["n_params"]
    assert len(priors) == recorded["num_priors"]

    pixels = np.random.RandomState(7).normal(0, 1, (1, 3, 300, 300)).astype(np.float32)
    images = torch.from_numpy(pixels * float(recorded["input_scale"]))  # in the order of Caffe
    assert torch.equal(images.flatten()[:16], torch.from_numpy(recorded["input_head"]))
    with torch.no_grad():
        predictions = detector.model.predict(images.flip(1))
    chosen = recorded["prior_index"]
    for ours, key in zip(predictions, ("class_logits", "box_deltas"), strict=True):
        np.testing.assert_allclose(ours[:, chosen], recorded[key], rtol=0, atol=1e-4)
    boxes = detector.model.box_head.box_coder.decode(predictions.bbox_pred[:, chosen], priors[chosen])
    boxes = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=2)
    np.testing.assert_allclose(boxes[0], recorded["boxes"], rtol=1e-4, atol=1e-4)


def test_norms_of_a_training_of_mobilenet_ssd() -> None:
    """They take the place of biases; those of the extra layers, which have none here, are folded."""
    weights = peers.fill_faster(peers.read_shapes("chuanqi305_mobilenet_ssd_voc"))
    folded = peers.convert(weights).weights
    for unit in [name.removesuffix(".0") for name in weights if name.endswith(".0") and "mbox" not in name]:
        bias = weights.pop(f"{unit}.1")  # 2 (x - 3) / sqrt(4) + bias + 3 is x + bias
        weights |= {f"{unit}/bn.0": torch.full_like(bias, 21), f"{unit}/bn.1": torch.full_like(bias, 28 - 7e-5)}
        weights |= {f"{unit}/bn.2": torch.tensor([7.0]), f"{unit}/scale.0": torch.full_like(bias, 2)}
        weights |= {f"{unit}/scale.1": bias + 3}
    found = peers.convert(weights).weights
    assert found.keys() == folded.keys()
    for name in ("extras.3.2.weight", "extras.0.0.bias", "features.13.3.weight"):
        torch.testing.assert_close(found[f"backbone.{name}"], folded[f"backbone.{name}"])
    norm = {name: found[f"backbone.features.13.4.{name}"][0] for name in ("running_mean", "running_var", "weight")}
    expected = {"running_mean": 3, "running_var": 4, "weight": 2}
    assert {name: value.item() for name, value in norm.items()} == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(found["backbone.features.13.4.bias"], folded["backbone.features.13.4.bias"] + 3)


@pytest.mark.parametrize(("size", "num_classes", "data"), [(300, 81, "coco"), (512, 21, "voc"), (512, 81, "coco")])
def test_sizes_and_data_of_the_authors(size: int, num_classes: int, data: str) -> None:
    shapes = peers.read_shapes("weiliu89_ssd300_voc")
    if size == 512:
        shapes |= {"conv10_1.0": [128, 256, 1, 1], "conv10_1.1": [128], "conv9_2.0": [256, 128, 3, 3]}
        shapes |= {"conv10_2.0": [256, 128, 4, 4], "conv10_2.1": [256]}
        per_cell = dict(zip(("conv8_2", "conv9_2", "conv10_2"), (6, 4, 4), strict=True))
        for level, boxes in per_cell.items():
            shapes |= {f"{level}_mbox_loc.0": [boxes * 4, 256, 3, 3], f"{level}_mbox_loc.1": [boxes * 4]}
            shapes |= {f"{level}_mbox_conf.0": [boxes * 21, 256, 3, 3], f"{level}_mbox_conf.1": [boxes * 21]}
    for name, shape in shapes.items():
        if "mbox_conf" in name:
            shapes[name] = [shape[0] // 21 * num_classes, *shape[1:]]
    converted = peers.convert({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert converted.config == f"interop/weiliu89_ssd{size}_{data}"
    assert peers.count_built_classes(converted) == num_classes


def prior_box(level: str, *, step: float = 8.0, **lists: list[float]) -> bytes:
    numbers = {"min_size": 1, "max_size": 2, "aspect_ratio": 3, "variance": 6}
    parameters = b"".join(field(numbers[key], float(value)) for key, values in lists.items() for value in values)
    parameters += field(4, 1) + field(5, 0) + (field(10, float(step)) if step else b"")
    return layer(f"{level}_mbox_priorbox", "PriorBox", parameters=field(203, parameters))


def priors_in_file(tmp_path: Path, boxes: list[bytes]) -> object:
    content = read_weights(write(tmp_path, caffemodel(SMALL, *boxes))).content
    shapes = peers.read_shapes("weiliu89_ssd300_voc")
    loaded = convert({name: torch.zeros(shape).expand(shape) for name, shape in shapes.items()}, content)
    assert loaded.config is not None
    return parse_config(loaded.config, "file").MODEL


def test_priors_of_the_file_go_before_those_of_the_authors(tmp_path: Path) -> None:
    sizes, ratios = [30, 60, 111, 162, 213, 264, 315], [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    steps, variance = [8.0, 16, 32, 64, 100, 300], [0.1, 0.1, 0.2, 0.2]
    levels = [
        {"min_size": [small], "max_size": [large], "aspect_ratio": own, "variance": variance}
        for small, large, own in zip(sizes[:-1], sizes[1:], ratios, strict=True)
    ]
    authors = [prior_box("a", step=step, **level) for step, level in zip(steps, levels, strict=True)]
    found = priors_in_file(tmp_path, authors)
    assert (list(found.PRIORS.SHAPES), found.PRIORS.CENTERS) == ([], "stride")
    assert list(found.PRIORS.STRIDES) == steps

    levels[0] = {"min_size": [10, 20], "aspect_ratio": [1, 4, 4], "variance": variance}
    found = priors_in_file(tmp_path, [prior_box("a", step=0.0, **level) for level in levels])
    expected = [(10, 10), (20, 5), (5, 20), (20, 20), (40, 10), (10, 40)]
    assert [tuple(shape) for shape in found.PRIORS.SHAPES[0]] == expected
    assert found.PRIORS.CENTERS == "map"

    levels[0] = {"min_size": [10, 20], "max_size": [30], "variance": variance}
    with pytest.raises(CheckpointError, match=r"a_mbox_priorbox has the sizes \[10"):
        priors_in_file(tmp_path, [prior_box("a", **level) for level in levels])
    levels[0] = {"min_size": [10], "variance": [0.2]}
    with pytest.raises(CheckpointError, match="variances"):
        priors_in_file(tmp_path, [prior_box("a", **level) for level in levels])
