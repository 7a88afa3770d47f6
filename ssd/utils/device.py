"""Choice of the device, and the handling of its memory."""

import ctypes
import platform

import torch

from ssd.utils.errors import DeviceError

# mallopt(3): number of large blocks with a mapping of their own, which is returned as soon as they are freed; number of
# free bytes at the end of the heap that are returned. (M_MMAP_THRESHOLD would do, but old versions limit it.)
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
_MAX_INT = 2**31 - 1


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
