"""Facts about the machine, the installed versions and the code, on which a result depends."""

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
import numpy as np
import torch

import ssd

T = TypeVar("T")

_PACKAGE = Path(ssd.__file__).parent
_CGROUP = Path("/sys/fs/cgroup")
_QUEUED = 1024  # rows given to the threads at a time


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may use: a container may show all of its machine and get the time of a few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(cores, _time_share(cgroup) or cores)


def limit_threads(cgroup: Path = _CGROUP) -> None:
    """Limit PyTorch to ``available_cores`` threads: it ignores the time limit of a container."""
    cores = available_cores(cgroup)
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def map_rows(function: Callable[[int], T], num_rows: int, num_threads: int) -> Iterator[T]:
    """Yield the results of a function for rows 0, 1, ... in order; a million rows are not queued at once."""
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, num_rows, _QUEUED):
            yield from pool.map(function, range(start, min(start + _QUEUED, num_rows)))


def _time_share(cgroup: Path) -> int | None:
    """Limit of the control group in cores, rounded up; None without a limit or a control group."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()  # version 2: "200000 100000", or "max 100000"
    except (OSError, ValueError):
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        cores = math.ceil(int(quota) / int(period))
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None  # version 1 writes -1 for no limit


def describe_versions() -> dict[str, str | None]:
    """Return the versions of Python, the library and the packages that compute; None for a missing one."""
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {
        "ssd": ssd.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": package_version("torchvision"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "cudnn": None if cudnn is None else str(cudnn),
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
    """Return the commit of the library, whether files differ from it, and a digest of its source files.

    The first two are None outside a git repository of the library.
    """
    root = package.parent
    commit = _read_commit(root)
    return {
        "commit": commit,
        "is_changed": None if commit is None else bool(_git(root, "status", "--porcelain")),
        "digest": _digest_files(package),
    }


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
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _read_commit(root: Path) -> str | None:
    try:
        _git(root, "ls-files", "--error-unmatch", "ssd/version.py")  # not just any repository around site-packages
        return _git(root, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def _digest_files(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder.parent).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _git(root: Path, *args: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True)
    return run.stdout.strip()
