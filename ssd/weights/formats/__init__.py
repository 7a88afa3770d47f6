"""Formats: checkpoints of other projects, one project for each file, with their recognition and conversion."""

import importlib
from functools import cache

from ssd.weights.formats.format import Converted, Format

__all__ = ["PROJECTS", "Converted", "Format", "all_formats"]

# Modules of this package; each has a tuple FORMATS.
PROJECTS = (
    *("lufficc", "amdegroot", "sgrvinod", "torchvision", "mmdet", "nvidia", "uvipen", "qfgaohao"),
    *("weiliu89", "chuanqi305", "opencv_res10", "linzaer", "tensorflow", "tensorflow_fpn"),
)


@cache
def all_formats() -> dict[str, Format]:
    """Return the formats by the name that `ssd convert --from` takes; their modules are imported at the first call."""
    modules = [importlib.import_module(f"{__name__}.{project}") for project in PROJECTS]
    return {format.name: format for module in modules for format in module.FORMATS}
