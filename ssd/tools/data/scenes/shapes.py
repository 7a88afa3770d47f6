"""Shapes of the rendered scenes, and the patterns that fill shapes and backgrounds.

An outline is a list of closed contours (N, 2) of (x, y), y downwards, within a radius of about 1; a point inside an
even number of contours is outside. A field is float32 (H, W): the position of each pixel between two colours, 0 to 1.
Colours are float (3,), RGB, 0 to 255.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

Outline = list[np.ndarray]
Colors = tuple[np.ndarray, np.ndarray]
Size = tuple[int, int]  # (height, width)

# Samples per pixel and axis. Odd, so that no pixel is covered by exactly one half.
_SUPERSAMPLING = 5
# Fractional bits of the points that OpenCV draws: rounding them here makes the masks the same on every machine.
_FRACTION_BITS = 4


@dataclass(frozen=True)
class Layer:
    """A shape at its place in a scene: ``coverage``, uint8 (h, w), begins at (left, top), maybe outside the image."""

    name: str
    left: int
    top: int
    coverage: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Pixels that the shape covers by more than half, bool (h, w)."""
        return self.coverage >= 128


def rasterise(name: str, outline: Outline) -> Layer:
    """Draw an outline, in pixels of the image, with anti-aliased edges and a margin of at least one pixel."""
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


def _crescent() -> np.ndarray:
    """The unit disc without a smaller one to its right; both circles pass through the two tips."""
    distance, inner_radius = 0.45, 0.8
    tip_x = (1 + distance**2 - inner_radius**2) / (2 * distance)
    tip_y = np.sqrt(1 - tip_x**2)
    outer_tip, inner_tip = np.arctan2(tip_y, tip_x), np.arctan2(tip_y, tip_x - distance)
    outer = np.linspace(outer_tip, 2 * np.pi - outer_tip, 48)
    inner = np.linspace(2 * np.pi - inner_tip, inner_tip, 32)[1:-1]
    x = np.concatenate([np.cos(outer), distance + inner_radius * np.cos(inner)])
    y = np.concatenate([np.sin(outer), inner_radius * np.sin(inner)])
    return np.stack([x + 0.2, y], axis=1)  # about the middle of its body


def _cross() -> np.ndarray:
    length, half_width = 0.95, 0.3
    arm = np.array([[-half_width, -half_width], [-half_width, -length], [half_width, -length]])
    quarter_turn = np.array([[0, 1], [-1, 0]])  # row vectors, clockwise
    return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, turns) for turns in range(4)])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], axis=1) / 16


SHAPES: dict[str, Outline] = {
    "circle": [_regular(64, 0.9)],
    "crescent": [_crescent()],
    "cross": [_cross()],
    "heart": [_heart()],
    "ring": [_regular(64, 0.95), _regular(64, 0.55)],
    "square": [_regular(4) @ np.array([[1, 1], [-1, 1]]) * np.sqrt(0.5)],  # a diamond, turned by 45 degrees
    "star": [_polar(np.arange(10) * (np.pi / 5), np.tile([1.0, 0.42], 5))],
    "triangle": [_regular(3)],
}


def paint_pattern(rng: Generator, size: Size, colors: Colors) -> np.ndarray:
    """Draw a random pattern of two colours; RGB uint8 (height, width, 3)."""
    names = list(PATTERNS)
    field = PATTERNS[names[rng.integers(len(names))]](rng, size)
    first, second = colors
    palette = first + np.linspace(0, 1, 256)[:, None] * (second - first)
    indices = np.rint(np.clip(field, 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(indices, np.rint(palette).astype(np.uint8)[:, None])


def random_color(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """Draw a colour of any hue, with HSV saturation and value from the given ranges."""
    hsv = rng.random(), rng.uniform(*saturation), rng.uniform(*value)
    return np.array(colorsys.hsv_to_rgb(*hsv)) * 255


def _glow(rng: Generator, size: Size) -> np.ndarray:
    height, width = size
    y = np.arange(height, dtype=np.float32) / height - np.float32(rng.random())
    x = np.arange(width, dtype=np.float32) / width - np.float32(rng.random())
    return np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)


def _waves(rng: Generator, size: Size) -> np.ndarray:
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    return 0.5 + 0.5 * np.sin(_ramp(size, angle) * _radians(rng) + np.float32(phase))


def _checker(rng: Generator, size: Size) -> np.ndarray:
    angle, radians = rng.uniform(0, 2 * np.pi), _radians(rng)
    waves = [np.sin(_ramp(size, angle + turn) * radians) for turn in (0, np.pi / 2)]
    return _sharpen(0.5 + waves[0] * waves[1])


def _blobs(rng: Generator, size: Size) -> np.ndarray:
    cells = rng.random(rng.integers(3, 9, 2), dtype=np.float32)
    return cv2.resize(cells, size[::-1], interpolation=cv2.INTER_CUBIC)


def _grain(rng: Generator, size: Size) -> np.ndarray:
    cell_size = rng.integers(1, 4)
    cells = rng.random((size[0] // cell_size + 1, size[1] // cell_size + 1), dtype=np.float32)
    return cv2.resize(cells, size[::-1], interpolation=cv2.INTER_LINEAR)


def _ramp(size: Size, angle: float) -> np.ndarray:
    """Coordinate along a direction in radians, from -0.5 to 0.5 across the longer side; float32 (H, W)."""
    height, width = size
    y = (np.arange(height, dtype=np.float32) - height / 2) / max(size)
    x = (np.arange(width, dtype=np.float32) - width / 2) / max(size)
    return np.float32(np.sin(angle)) * y[:, None] + np.float32(np.cos(angle)) * x[None, :]


def _radians(rng: Generator) -> np.float32:
    """Phase of two to eight periods, the range of a periodic pattern along the longer side."""
    return np.float32(2 * np.pi * rng.uniform(2, 8))


def _sharpen(field: np.ndarray) -> np.ndarray:
    return np.clip((field - 0.5) * 6 + 0.5, 0, 1)


PATTERNS: dict[str, Callable[[Generator, Size], np.ndarray]] = {
    "plain": lambda rng, size: np.full(size, rng.random(), np.float32),
    "gradient": lambda rng, size: _ramp(size, rng.uniform(0, 2 * np.pi)) + 0.5,
    "glow": _glow,
    "waves": _waves,
    "stripes": lambda rng, size: _sharpen(_waves(rng, size)),
    "checker": _checker,
    "blobs": _blobs,
    "grain": _grain,
}
