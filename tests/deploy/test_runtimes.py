"""The ways to run one detector find the same."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.data import make_batch_transform
from ssd.deploy import Metadata, make_metadata, runtimes
from ssd.deploy.runtimes import CompiledNetwork, PlainNetwork, exported_networks, make_candidates
from ssd.structures import Container
from ssd.utils.errors import DeviceError

NAMES = ("__background__", "a", "b", "c", "d")
CheckSame = Callable[[Config, Sequence[Container], Sequence[Container]], tuple[float, float]]


@pytest.fixture
def metadata(small_config: Config, small_detector: nn.Module) -> Metadata:
    return make_metadata(small_config, small_detector, NAMES)


def test_candidates(small_config: Config, small_detector: nn.Module, metadata: Metadata) -> None:
    transform = make_batch_transform(small_config, is_train=False)
    model = [
        "PyTorch, as trained",
        "PyTorch, batch norms folded",
        "PyTorch, folded, bf16",
        "PyTorch, folded, torch.compile",
    ]
    files = [Path("m.onnx"), Path("m.int8.onnx")]
    assert [name for name, _ in make_candidates(small_detector, transform, metadata, files)] == [
        *model,
        *("m.onnx in ONNX Runtime", "m.onnx in OpenVINO", "m.int8.onnx in ONNX Runtime", "m.int8.onnx in OpenVINO"),
        "m.onnx in OpenVINO, bf16",
    ]
    candidates = make_candidates(small_detector, transform, metadata, [Path("m.pt2")])
    assert [name for name, _ in candidates] == [*model, "m.pt2"]
    assert list(exported_networks(Path("m.pt2"), metadata)) == ["m.pt2"]


def test_pytorch_candidates_find_the_same(
    small_config: Config,
    small_detector: nn.Module,
    metadata: Metadata,
    make_batch: Callable[[Config, int], Tensor],
    detect: Callable[[Config, nn.Module, Tensor], list[Container]],
    check_same: CheckSame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    images = make_batch(small_config, 2)
    expected = detect(small_config, small_detector, images)
    before = {name: value.clone() for name, value in small_detector.state_dict().items()}
    transform = make_batch_transform(small_config, is_train=False)
    plain, folded, _, quick = make_candidates(small_detector, transform, metadata, [Path("m.pt2")])[:4]
    for _, make in (plain, folded, quick):
        box_difference, score_difference = check_same(small_config, make(1)(images), expected)
        assert box_difference < 1e-3
        assert score_difference < 1e-4
    assert len(compiled) == 1
    assert all(torch.equal(value, before[name]) for name, value in small_detector.state_dict().items())


def test_bf16_is_left_out_where_the_cpu_has_none(
    small_config: Config, small_detector: nn.Module, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "has_bf16_arithmetic", lambda: False)
    transform = make_batch_transform(small_config, is_train=False)
    candidates = dict(make_candidates(small_detector, transform, metadata, [Path("m.onnx")]))
    for name in ("PyTorch, folded, bf16", "m.onnx in OpenVINO, bf16"):
        with pytest.raises(DeviceError, match="no arithmetic in bf16"):
            candidates[name](1)


def test_bf16_does_not_touch_the_model(
    small_config: Config,
    small_detector: nn.Module,
    metadata: Metadata,
    make_batch: Callable[[Config, int], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtimes, "has_bf16_arithmetic", lambda: True)
    transform = make_batch_transform(small_config, is_train=False)
    candidates = dict(make_candidates(small_detector, transform, metadata, [Path("m.pt2")]))
    images = make_batch(small_config, 1)
    exact = PlainNetwork(small_detector, transform)(images)
    (found,) = candidates["PyTorch, folded, bf16"](1)(images)
    assert len(found["scores"]) > 0
    assert not torch.equal(found["scores"][:5], exact[0]["scores"][:5])
    assert torch.equal(PlainNetwork(small_detector, transform)(images)[0]["scores"], exact[0]["scores"])
    assert {parameter.dtype for parameter in small_detector.parameters()} == {torch.float32}


def test_bf16_is_asked_of_openvino(
    small_config: Config, small_detector: nn.Module, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Path, dict[str, object]]] = []
    monkeypatch.setattr(runtimes, "has_bf16_arithmetic", lambda: True)
    monkeypatch.setattr(runtimes, "OpenVinoNetwork", lambda path, **options: calls.append((path, options)))
    transform = make_batch_transform(small_config, is_train=False)
    candidates = dict(make_candidates(small_detector, transform, metadata, [Path("m.onnx")]))
    candidates["m.onnx in OpenVINO"](2)
    candidates["m.onnx in OpenVINO, bf16"](3)
    assert calls == [
        (Path("m.onnx"), {"num_threads": 2}),
        (Path("m.onnx"), {"num_threads": 3, "precision": "bf16"}),
    ]


@pytest.mark.slow
def test_compiled(
    small_config: Config,
    small_detector: nn.Module,
    make_batch: Callable[[Config, int], Tensor],
    detect: Callable[[Config, nn.Module, Tensor], list[Container]],
    check_same: CheckSame,
) -> None:
    images = make_batch(small_config, 2)
    network = CompiledNetwork(small_detector, make_batch_transform(small_config, is_train=False))
    box_difference, score_difference = check_same(
        small_config, network(images), detect(small_config, small_detector, images)
    )
    assert box_difference < 1e-3
    assert score_difference < 1e-4
