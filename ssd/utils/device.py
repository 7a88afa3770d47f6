"""From the name of a device to the device."""

import torch

from ssd.utils.errors import DeviceError


def select_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the first that exists of cuda, mps and cpu.

    Raises:
        DeviceError: the name is none of auto, cpu, mps, cuda and cuda:N, or this machine has no such device.
    """
    if name == "auto":
        return torch.device(_best_device_type())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(_unknown(name)) from error
    if device.type not in ("cuda", "mps", "cpu"):
        raise DeviceError(_unknown(name))
    if device.type == "cuda":
        _check_cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' needs a Mac with Apple silicon; set MODEL.DEVICE to auto or cpu")
    return device


def _best_device_type() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        cause = "sees no GPU" if torch.version.cuda or torch.version.hip else "is built for the CPU only"
        raise DeviceError(f"device {str(device)!r}: torch {torch.__version__} {cause}; set MODEL.DEVICE to cpu or auto")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        last = f"the last one is 'cuda:{count - 1}'"
        raise DeviceError(f"device {str(device)!r}: this machine shows {count} GPU(s), {last}; set MODEL.DEVICE to it")


def _unknown(name: str) -> str:
    return f"unknown device {name!r}; MODEL.DEVICE is one of auto, cpu, mps, cuda, cuda:N"
