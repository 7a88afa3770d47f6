"""What the figures were measured on."""

import os
import platform
from datetime import datetime, timezone

import cv2
import torch

from ssd.utils.device import available_cores, cpu_model, describe_code, package_version

_PACKAGES = ("torch", "torchvision", "numpy", "faster-coco-eval", "pycocotools")


def describe_machine() -> dict[str, str | int | float | None]:
    """Return hardware, threads, versions, date and commit; None for what is not there."""
    versions = {package: package_version(package) for package in _PACKAGES}
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch_threads": torch.get_num_threads(),
        "opencv_threads": cv2.getNumThreads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        **versions,
    }


def _commit() -> str | None:
    """The commit of the working tree, with "+" if files differ from it; None outside a repository."""
    code = describe_code()
    return None if code["commit"] is None else code["commit"][:12] + "+" * code["is_changed"]
