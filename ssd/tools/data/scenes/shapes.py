"""The shapes of the rendered scenes: outlines about the origin, and their coverage of the pixel grid.

An outline is a list of closed contours (N, 2) of (x, y), y downwards, within a radius of 1. A point that an even
number of contours enclose is outside.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Outline = list[np.ndarray]

# Samples per pixel and axis. Odd, so that no pixel is covered by exactly one half.
_SUPERSAMPLING = 5
# Fractional bits of the points that OpenCV draws: rounding them here makes the masks the same on every machine.
_FRACTION_BITS = 4


@dataclass(frozen=True)
class Layer:
    """A shape at its place in a scene.

    Attributes:
        name: the class of the shape.
        left, top: the pixel of the image that the first pixel of ``coverage`` lies on; may be outside the image.
        coverage: uint8 (h, w), 255 where the shape covers a pixel wholly.
    """

    name: str
    left: int
    top: int
    coverage: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The pixels that the shape covers by more than half, bool (h, w)."""
        return self.coverage >= 128


def rasterise(name: str, outline: Outline) -> Layer:
    """Draw an outline with anti-aliased edges.

    Args:
        name: the class of the shape.
        outline: contours in pixels, about the top left corner of the image.

    Returns:
        The shape with at least a pixel of margin at each side.
    """
    points = np.concatenate(outline)
    left, top = (np.floor(points.min(axis=0)) - 1).astype(int).tolist()
    right, bottom = (np.ceil(points.max(axis=0)) + 1).astype(int).tolist()
    canvas = np.zeros(((bottom - top) * _SUPERSAMPLING, (right - left) * _SUPERSAMPLING), np.uint8)
    # OpenCV counts from the middle of the first sample, outlines from its corner.
    samples = [(contour - (left, top)) * _SUPERSAMPLING - 0.5 for contour in outline]
    fixed_point = [np.rint(contour * 2**_FRACTION_BITS).astype(np.int32) for contour in samples]
    cv2.fillPoly(canvas, fixed_point, 255, shift=_FRACTION_BITS)
    coverage = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return Layer(name, left, top, coverage)


def _polar(angles: np.ndarray, radii: np.ndarray | float = 1.0) -> np.ndarray:
    """Points (N, 2) at angles clockwise from twelve o'clock, in radians."""
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _regular(num_points: int, radius: float = 1.0) -> np.ndarray:
    return _polar(np.arange(num_points) * (2 * np.pi / num_points), radius)


def _circle() -> Outline:
    return [_regular(64, 0.9)]


def _square() -> Outline:
    return [_regular(4) @ np.array([[1, 1], [-1, 1]]) * np.sqrt(0.5)]  # a diamond, turned by 45 degrees


def _triangle() -> Outline:
    return [_regular(3)]


def _star() -> Outline:
    return [_polar(np.arange(10) * (np.pi / 5), np.tile([1.0, 0.42], 5))]


def _cross() -> Outline:
    length, half_width = 0.95, 0.3
    arm = np.array([[-half_width, -half_width], [-half_width, -length], [half_width, -length]])
    quarter_turn = np.array([[0, 1], [-1, 0]])  # row vectors, clockwise
    return [np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, turns) for turns in range(4)])]


def _ring() -> Outline:
    return [_regular(64, 0.95), _regular(64, 0.55)]


def _heart() -> Outline:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [np.stack([x, y - 2.5], axis=1) / 16]


def _crescent() -> Outline:
    # The unit disc without a smaller one to its right; both circles pass through the two tips.
    distance, inner_radius = 0.45, 0.8
    tip_x = (1 + distance**2 - inner_radius**2) / (2 * distance)
    tip_y = np.sqrt(1 - tip_x**2)
    outer_tip, inner_tip = np.arctan2(tip_y, tip_x), np.arctan2(tip_y, tip_x - distance)
    outer = np.linspace(outer_tip, 2 * np.pi - outer_tip, 48)
    inner = np.linspace(2 * np.pi - inner_tip, inner_tip, 32)[1:-1]
    x = np.concatenate([np.cos(outer), distance + inner_radius * np.cos(inner)])
    y = np.concatenate([np.sin(outer), inner_radius * np.sin(inner)])
    return [np.stack([x + 0.2, y], axis=1)]  # about the middle of its body


SHAPES: dict[str, Callable[[], Outline]] = {
    "circle": _circle,
    "crescent": _crescent,
    "cross": _cross,
    "heart": _heart,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
