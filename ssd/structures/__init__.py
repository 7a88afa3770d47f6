"""Data types of all packages: Container, boxes, sizes, class names."""

from ssd.structures.container import Container

__all__ = ["Container"]
