"""What a result depends on beside its configuration: versions, the code itself, the machine."""

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import ssd
from ssd.utils.cores import available_cores

_PACKAGE = Path(__file__).parents[1]


def describe_versions() -> dict[str, str | None]:
    """Return the version of what computes, by name; None for what is not there."""
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
    """Return processors and threads, of which the last bits of a result are a function."""
    return {
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def describe_code() -> dict[str, Any]:
    """Return the commit of this library, whether files differ from it, and a digest of the library's source files.

    The first two are None outside of a git repository that holds it.
    """
    root = _PACKAGE.parent
    commit = read_commit(root)
    return {
        "commit": commit,
        "is_changed": None if commit is None else bool(_git(root, "status", "--porcelain")),
        "digest": _digest_files(_PACKAGE),
    }


def read_commit(root: Path) -> str | None:
    """Return the commit of a repository whose files are those of ``root``; None if there is none, or no git."""
    try:
        _git(root, "ls-files", "--error-unmatch", "ssd/version.py")  # not just any repository around site-packages
        return _git(root, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def package_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the name of the processor, or its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _digest_files(folder: Path) -> str:
    """Of the package's modules."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder.parent).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _git(root: Path, *args: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True)
    return run.stdout.strip()
