"""Which number format a device computes in, and that the module computes in it."""

import pytest
import torch
from ssd.weights.precision import has_bf16_arithmetic, in_precision, select_dtype, shorten_weights
from torch import Tensor, nn

from ssd.utils.errors import ConfigError

OFF, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16


@pytest.mark.parametrize(
    ("device", "has_bf16", "name", "expected"),
    [
        ("cuda", True, "auto", BF16),
        ("cuda", False, "auto", FP16),
        ("cuda", True, "fp16", FP16),
        ("cuda:1", True, "bf16", BF16),
        ("cuda", True, "off", OFF),
        ("cpu", False, "auto", OFF),
        ("cpu", False, "bf16", BF16),
        ("cpu", False, "off", OFF),
        ("mps", False, "auto", OFF),
        ("mps", False, "off", OFF),
    ],
)
def test_formats(
    monkeypatch: pytest.MonkeyPatch, device: str, has_bf16: bool, name: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert select_dtype(name, torch.device(device), "SOLVER.AMP") == expected


@pytest.mark.parametrize(
    ("device", "name", "message"),
    [
        ("cuda", "bf16", r"SOLVER\.AMP bf16 needs a GPU of compute capability 8\.0 or more; set it to fp16 or auto"),
        ("cpu", "fp16", r"SOLVER\.AMP fp16 is for CUDA devices; on a CPU set it to bf16 or off"),
        ("mps", "fp16", r"SOLVER\.AMP fp16 is for CUDA devices and CPUs; on MPS set it to off or auto"),
        ("mps", "bf16", r"SOLVER\.AMP bf16 is for CUDA"),
    ],
)
def test_formats_that_a_device_lacks(monkeypatch: pytest.MonkeyPatch, device: str, name: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(ConfigError, match=message):
        select_dtype(name, torch.device(device), "SOLVER.AMP")


@pytest.mark.parametrize(
    ("capabilities", "groups", "name", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, 1, "auto", BF16),
        ({"amx_bf16": True}, 2, "auto", BF16),  # grouped, but not depthwise
        ({"amx_bf16": True}, 4, "auto", OFF),
        ({"amx_bf16": True}, 1, "off", OFF),
        ({"avx512_bf16": True, "amx_bf16": False}, 1, "auto", OFF),
        ({"architecture": "arm64"}, 1, "auto", OFF),
        ({}, 4, "bf16", BF16),
    ],
)
def test_auto_on_a_cpu_asks_the_processor_and_the_network(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], groups: int, name: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=groups))
    assert select_dtype(name, torch.device("cpu"), "TEST.AMP", network) == expected


@pytest.mark.parametrize(
    ("capabilities", "has_arithmetic"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True, "avx512_bf16": False}, False)],
)
def test_what_counts_as_arithmetic_in_bf16(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], has_arithmetic: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16_arithmetic() is has_arithmetic


def test_training_on_a_cpu_is_short_only_where_it_is_asked_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True})
    assert select_dtype("auto", torch.device("cpu"), "SOLVER.AMP") == OFF


class Detector(nn.Module):
    """One weight, and predictions that are its features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 1, bias=False)
        self.box_head = nn.Module()
        self.box_head.predictor = Predictor()
        nn.init.ones_(self.backbone.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.box_head.predictor(self.backbone(images))


class Predictor(nn.Module):
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, features


def test_the_network_computes_in_bfloat16_and_predicts_float32() -> None:
    model = Detector().eval()
    short = in_precision(model, "cpu", BF16)
    assert not short.training
    # Eight bits of precision: 1 + 1/128 is the neighbour of 1, and 1 + 1/512 rounds to 1.
    for output in short(torch.tensor([[1 + 1 / 128], [1 + 1 / 512]])):
        assert output.dtype == torch.float32
        assert output.tolist() == [[1 + 1 / 128], [1.0]]
    assert model.backbone.weight.dtype == torch.float32
    assert short.train() is short
    assert model.training


def test_float32_needs_no_wrapper() -> None:
    model = Detector()
    assert in_precision(model, "cpu", OFF) is model


def test_a_head_without_predictor() -> None:
    model = Detector()
    model.box_head = nn.Identity()
    model.forward = model.backbone.forward  # type: ignore[method-assign]
    assert in_precision(model, "cpu", BF16)(torch.ones(1, 1)).dtype == BF16


def test_short_weights() -> None:
    model = Detector()
    shorten_weights(model)
    assert model.backbone.weight.dtype == torch.float32
    short = in_precision(model, "cpu", BF16)
    shorten_weights(short)
    assert model.backbone.weight.dtype == BF16
    values = torch.tensor([[1 + 1 / 128], [1 + 1 / 512]])
    assert short(values)[0].tolist() == [[1 + 1 / 128], [1.0]]
