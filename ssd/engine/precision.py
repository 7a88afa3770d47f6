"""How the network computes: the number format of its arithmetic, compiled or not."""

from typing import Any

import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.utils.errors import ConfigError

DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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

    Its weights are those of the model, which is what is saved and evaluated.
    """
    network = in_precision(model, next(model.parameters()).device.type, dtype)
    return torch.compile(network) if cfg.SOLVER.COMPILE else network  # type: ignore[return-value]


def in_precision(model: nn.Module, device_type: str, dtype: torch.dtype) -> nn.Module:
    """Return a module that runs ``model`` in ``dtype``: for float32 the model itself."""
    return model if dtype == torch.float32 else InPrecision(model, device_type, dtype)


def select_dtype(name: str, device: torch.device, key: str) -> torch.dtype:
    """Return the format that a config asks for.

    Args:
        name: off (float32), bf16, fp16, or auto: what a CUDA device is fast in, float32 elsewhere.
        device: where the network runs.
        key: that holds ``name``, for messages.

    Raises:
        ConfigError: the device cannot compute in it.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name = ("bf16" if has_bf16 else "fp16") if name == "auto" else name
        if name == "bf16" and not has_bf16:
            raise ConfigError(f"{key} bf16 needs a GPU of compute capability 8.0 or more; set it to fp16 or auto")
    elif name == "auto":
        name = "off"
    elif device.type == "cpu" and name == "fp16":
        raise ConfigError(f"{key} fp16 is for CUDA devices; on a CPU set it to bf16 or off")
    elif device.type == "mps" and name != "off":
        raise ConfigError(f"{key} {name} is for CUDA devices and CPUs; on MPS set it to off or auto")
    return DTYPES[name]
