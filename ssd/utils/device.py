"""Choice of the device, and the handling of its memory."""

import ctypes
import platform

import torch
from torch import nn

from ssd.utils.errors import ConfigError, DeviceError

# mallopt(3): number of large blocks with a mapping of their own, which is returned as soon as they are freed; number of
# free bytes at the end of the heap that are returned. (M_MMAP_THRESHOLD would do, but old versions limit it.)
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
_MAX_INT = 2**31 - 1
DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the first that exists of cuda, mps and cpu.

    Raises:
        DeviceError: The name is none of auto, cpu, mps, cuda and cuda:N, or this machine has no such device.
    """
    if name == "auto":
        fallback = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else fallback)
    unknown = f"unknown device {name!r}; MODEL.DEVICE is one of auto, cpu, mps, cuda, cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(unknown) from error
    if device.type not in ("cuda", "mps", "cpu"):
        raise DeviceError(unknown)
    if device.type == "cuda":
        _check_cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' needs a Mac with Apple silicon; set MODEL.DEVICE to auto or cpu")
    return device


def keep_freed_memory() -> bool:
    """Make this process reuse the memory that it frees; return whether that is possible.

    By default glibc returns large blocks to the kernel, and a training on the CPU, which allocates the same activations
    in every step, spends much of its time on page faults. Other C libraries are not changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _MAX_INT))


def _check_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        cause = "sees no GPU" if torch.version.cuda or torch.version.hip else "is built for the CPU only"
        raise DeviceError(f"device {str(device)!r}: torch {torch.__version__} {cause}; set MODEL.DEVICE to cpu or auto")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        last = f"the last one is 'cuda:{count - 1}'"
        raise DeviceError(f"device {str(device)!r}: this machine shows {count} GPU(s), {last}; set MODEL.DEVICE to it")


def select_dtype(name: str, device: torch.device, key: str, network: nn.Module | None = None) -> torch.dtype:
    """Return the number format that a config asks for.

    Args:
        name: "off" (float32), "bf16", "fp16", or "auto": the fast format of a CUDA device; bf16 on a CPU with AMX for a
            ``network`` that gains from it; else float32.
        device: Device of the network.
        key: Key that holds ``name``, for messages.
        network: Network that only detects; None for training, where "auto" is float32 on any CPU.

    Raises:
        ConfigError: The device cannot compute in this format.
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
    """Whether this CPU multiplies bfloat16 in hardware; others emulate it."""
    return has_quick_bf16() or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def has_quick_bf16() -> bool:
    """Whether bfloat16 is always faster than float32 on this CPU, by AMX; AVX512-BF16 alone may be slower."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _is_depthwise(network: nn.Module) -> bool:
    """Whether a network has depthwise convolutions, which are limited by memory and gain little."""
    return any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in network.modules())
