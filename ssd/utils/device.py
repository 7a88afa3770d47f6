"""Device, number format, memory and cores of this machine, and the facts about it on which a result depends."""

import ctypes
import hashlib
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from torch import nn

import ssd
from ssd.utils.errors import ConfigError, DeviceError

T = TypeVar("T")

# mallopt(3): number of large blocks with a mapping of their own, which is returned as soon as they are freed; number of
# free bytes at the end of the heap that are returned. (M_MMAP_THRESHOLD would do, but old versions limit it.)
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
_MAX_INT = 2**31 - 1
_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PACKAGE = Path(ssd.__file__).parent
_CGROUP = Path("/sys/fs/cgroup")


def select_device(name: str) -> torch.device:
    """Return the device of a name, or raise DeviceError; "auto" is the first that exists of cuda, mps and cpu."""
    if name == "auto":
        fallback = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else fallback)
    kind, _, index = name.partition(":")
    if kind not in ("cuda", "mps", "cpu") or (":" in name and not index.isdecimal()):
        raise DeviceError(f"unknown device {name!r}; MODEL.DEVICE is one of auto, cpu, mps, cuda, cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        cause = "sees no GPU" if torch.version.cuda or torch.version.hip else "is built for the CPU only"
        raise DeviceError(f"device {name!r}: torch {torch.__version__} {cause}; set MODEL.DEVICE to cpu or auto")
    if kind == "cuda" and int(index or 0) >= (count := torch.cuda.device_count()):
        raise DeviceError(f"device {name!r}: this machine shows {count} GPU(s); MODEL.DEVICE counts them from cuda:0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device {name!r} needs a Mac with Apple silicon; set MODEL.DEVICE to auto or cpu")
    return torch.device(name)


def select_dtype(name: str, device: torch.device, key: str, network: nn.Module | None = None) -> torch.dtype:
    """Return the number format that a config asks for; ConfigError, with ``key``, if the device cannot compute in it.

    ``name`` is "off" (float32), "bf16", "fp16", or "auto": the fast format of a CUDA device; bf16 on a CPU with AMX for
    a ``network`` that only detects and gains from it; else float32.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name = ("bf16" if has_bf16 else "fp16") if name == "auto" else name
        if name == "bf16" and not has_bf16:
            raise ConfigError(f"{key} bf16 needs a GPU of compute capability 8.0 or more; set it to fp16 or auto")
    elif name == "auto":
        is_quick = device.type == "cpu" and network is not None and _has_amx() and not _is_depthwise(network)
        name = "bf16" if is_quick else "off"
    elif device.type == "cpu" and name == "fp16":
        raise ConfigError(f"{key} fp16 is for CUDA devices; on a CPU set it to bf16 or off")
    elif device.type == "mps" and name != "off":
        raise ConfigError(f"{key} {name} is for CUDA devices and CPUs; on MPS set it to off or auto")
    return _DTYPES[name]


def has_bf16_arithmetic() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; others emulate it."""
    return _has_amx() or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def keep_freed_memory() -> bool:
    """Make this process reuse the memory that it frees; return whether that is possible.

    By default glibc returns large blocks to the kernel, and a training on the CPU, which allocates the same activations
    in every step, spends much of its time on page faults.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _MAX_INT))


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may use: a container may show all of its machine and get the time of a few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no container, or "max 100000"
        return cores


def limit_threads(cgroup: Path = _CGROUP) -> None:
    """Limit PyTorch to ``available_cores`` threads: it ignores the time limit of a container."""
    cores = available_cores(cgroup)
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def map_rows(function: Callable[[int], T], num_rows: int, num_threads: int) -> Iterator[T]:
    """Yield the results of a function for rows 0, 1, ... in order."""
    with ThreadPoolExecutor(num_threads) as pool:
        yield from pool.map(function, range(num_rows))


def describe_versions() -> dict[str, str | None]:
    """Return the versions of Python, the library and the packages that compute; None for a missing one."""
    has_gpu = torch.cuda.is_available()
    return {
        "ssd": ssd.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": package_version("torchvision"),
        "numpy": package_version("numpy"),
        "opencv": cv2.__version__,
        "cuda": torch.version.cuda if has_gpu else None,
        "cudnn": str(torch.backends.cudnn.version()) if has_gpu else None,
    }


def describe_machine(device: torch.device) -> dict[str, str | int | None]:
    """Return system, processor, threads and GPU, on which the last bits of a result depend."""
    return {
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def describe_code(package: Path = _PACKAGE) -> dict[str, Any]:
    """Return commit and whether files differ (None outside a repository of the library), and a digest of its files."""
    root, commit, is_changed = package.parent, None, None
    try:
        _git(root, "ls-files", "--error-unmatch", "ssd/version.py")  # not just any repository around site-packages
        commit, is_changed = _git(root, "rev-parse", "HEAD"), bool(_git(root, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        pass
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return {"commit": commit, "is_changed": is_changed, "digest": digest.hexdigest()}


def package_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the name of the processor, or its architecture where the system has no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _has_amx() -> bool:
    """Whether bfloat16 is always faster than float32 on this CPU; AVX512-BF16 alone may be slower."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _is_depthwise(network: nn.Module) -> bool:
    """Whether a network has depthwise convolutions, which are limited by memory and gain little."""
    return any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in network.modules())


def _git(root: Path, *args: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True)
    return run.stdout.strip()
