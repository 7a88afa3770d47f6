"""torchvision's compiled box operators, imported in one place so that a broken installation is explained once."""

try:
    from torchvision.ops import nms
except RuntimeError as error:  # "operator torchvision::nms does not exist": the two were built for each other's absence
    raise ImportError(
        "torch and torchvision do not belong together (for example a CPU-only torch beside a CUDA torchvision). "
        "Install both from the same index: pip install --force-reinstall torch torchvision"
    ) from error

__all__ = ["nms"]
