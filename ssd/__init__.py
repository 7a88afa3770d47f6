"""SSD (Single Shot MultiBox Detector, Liu et al., ECCV 2016, arXiv:1512.02325) for PyTorch."""

from ssd.version import __version__

__all__ = ["__version__"]
