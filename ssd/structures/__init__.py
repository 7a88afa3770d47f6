"""Data types that every package speaks: Container and boxes."""

from ssd.structures.container import Container

__all__ = ["Container"]
