"""SSD (Single Shot MultiBox Detector, Liu et al., ECCV 2016, arXiv:1512.02325) for PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

from ssd.version import __version__

if TYPE_CHECKING:
    from ssd.commands.fit import fit
    from ssd.commands.python_api import models, train
    from ssd.deploy.detector import load
    from ssd.inference.api import inference_detector, init_detector
    from ssd.inference.detections import Detections
    from ssd.tools.explain.explain import explain

__all__ = [
    "Detections",
    "__version__",
    "explain",
    "fit",
    "inference_detector",
    "init_detector",
    "load",
    "models",
    "train",
]

# Where the names are. They are imported when they are used: importing ``ssd`` alone does not load PyTorch.
_MODULES = {
    "Detections": "ssd.inference.detections",
    "explain": "ssd.tools.explain.explain",
    "fit": "ssd.commands.fit",
    "inference_detector": "ssd.inference.api",
    "init_detector": "ssd.inference.api",
    "load": "ssd.deploy.detector",
    "models": "ssd.commands.python_api",
    "train": "ssd.commands.python_api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ssd' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
