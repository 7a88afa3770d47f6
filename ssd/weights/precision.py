"""How the network computes: the number format of its arithmetic, compiled or not."""

from typing import Any

import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.modeling.backbone.efficient_net import SamePaddingConv2d
from ssd.utils.distributed import parallelise
from ssd.utils.errors import ConfigError

DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Layers whose weights autocast converts and nothing else uses. Exact types: a subclass may compute with its weight.
_SHORT_LAYERS = (nn.Conv2d, SamePaddingConv2d, nn.Linear)


class InPrecision(nn.Module):
    """A detector whose network computes in a shorter number format where that is safe.

    Its weights stay float32, and so do losses and boxes: what ``box_head.predictor`` returns is float32 again. (A head
    that has no such part sees to that itself.)

    Args:
        model: the detector.
        device_type: where it is.
        dtype: bfloat16 or float16.
    """

    def __init__(self, model: nn.Module, device_type: str, dtype: torch.dtype):
        super().__init__()
        self.model = model
        self.device_type = device_type
        self.dtype = dtype
        self.training = model.training
        predictor = getattr(model.box_head, "predictor", None)
        if predictor is not None:
            predictor.register_forward_hook(_to_float32)

    def forward(self, *args: Any) -> Any:
        """Return what the model makes of the arguments."""
        with torch.autocast(self.device_type, self.dtype):
            return self.model(*args)


def _to_float32(_: nn.Module, __: Any, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(output.float() for output in outputs)


def make_network(cfg: Config, model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the module that a training step calls: ``model`` in ``dtype``, compiled if SOLVER.COMPILE says so.

    Its weights are those of the model, which is what is saved and evaluated. Of several processes all must call this.
    """
    network = parallelise(in_precision(model, next(model.parameters()).device.type, dtype))
    return torch.compile(network) if cfg.SOLVER.COMPILE else network  # type: ignore[return-value]


def in_precision(model: nn.Module, device_type: str, dtype: torch.dtype) -> nn.Module:
    """Return a module that runs ``model`` in ``dtype``: for float32 the model itself."""
    return model if dtype == torch.float32 else InPrecision(model, device_type, dtype)


def shorten_weights(model: nn.Module) -> None:
    """Convert in place the weights of an ``InPrecision`` that it would convert in every call, for detection alone.

    Its results stay the same to the bit. Another module is left as it is.
    """
    if not isinstance(model, InPrecision):
        return
    for layer in model.modules():
        if type(layer) in _SHORT_LAYERS:
            layer.to(model.dtype)


def select_dtype(name: str, device: torch.device, key: str, network: nn.Module | None = None) -> torch.dtype:
    """Return the format that a config asks for.

    Args:
        name: off (float32), bf16, fp16, or auto: what a CUDA device is fast in; on a CPU that is quick in bf16, this
            for a ``network`` that gains by it; else float32.
        device: where the network runs.
        key: that holds ``name``, for messages.
        network: that only detects. None = it trains: then auto is float32 on any CPU.

    Raises:
        ConfigError: the device cannot compute in it.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name = ("bf16" if has_bf16 else "fp16") if name == "auto" else name
        if name == "bf16" and not has_bf16:
            raise ConfigError(f"{key} bf16 needs a GPU of compute capability 8.0 or more; set it to fp16 or auto")
    elif name == "auto":
        is_quick = device.type == "cpu" and network is not None and has_quick_bf16() and not _is_depthwise(network)
        name = "bf16" if is_quick else "off"
    elif device.type == "cpu" and name == "fp16":
        raise ConfigError(f"{key} fp16 is for CUDA devices; on a CPU set it to bf16 or off")
    elif device.type == "mps" and name != "off":
        raise ConfigError(f"{key} {name} is for CUDA devices and CPUs; on MPS set it to off or auto")
    return DTYPES[name]


def has_bf16_arithmetic() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; others only imitate it."""
    return has_quick_bf16() or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def has_quick_bf16() -> bool:
    """Whether bfloat16 is sure to be quicker than float32 on this CPU: by AMX. AVX512-BF16 alone may be slower."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _is_depthwise(network: nn.Module) -> bool:
    """Whether a network has depthwise convolutions: they move data more than they multiply, and gain little."""
    return any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in network.modules())
