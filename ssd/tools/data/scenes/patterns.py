"""Patterns in two colours that fill the backgrounds and the shapes. Colours are float (3,), RGB, 0 to 255."""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

# A field is float32 (H, W) from 0 to 1: how far each pixel is from the first colour to the second.
Field = np.ndarray
Colors = tuple[np.ndarray, np.ndarray]


def paint_pattern(rng: Generator, size: tuple[int, int], colors: Colors) -> np.ndarray:
    """Draw a random pattern.

    Args:
        rng: decides the pattern and its parameters.
        size: (height, width) in pixels.
        colors: the two colours that the pattern mixes.

    Returns:
        RGB uint8 (height, width, 3).
    """
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


def _plain(rng: Generator, size: tuple[int, int]) -> Field:
    return np.full(size, rng.random(), np.float32)


def _gradient(rng: Generator, size: tuple[int, int]) -> Field:
    return _ramp(size, rng.uniform(0, 2 * np.pi)) + 0.5


def _glow(rng: Generator, size: tuple[int, int]) -> Field:
    height, width = size
    y = np.arange(height, dtype=np.float32) / height - np.float32(rng.random())
    x = np.arange(width, dtype=np.float32) / width - np.float32(rng.random())
    return np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)


def _waves(rng: Generator, size: tuple[int, int]) -> Field:
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    return 0.5 + 0.5 * np.sin(_ramp(size, angle) * _radians(rng) + np.float32(phase))


def _stripes(rng: Generator, size: tuple[int, int]) -> Field:
    return _sharpen(_waves(rng, size))


def _checker(rng: Generator, size: tuple[int, int]) -> Field:
    angle, radians = rng.uniform(0, 2 * np.pi), _radians(rng)
    waves = [np.sin(_ramp(size, angle + turn) * radians) for turn in (0, np.pi / 2)]
    return _sharpen(0.5 + waves[0] * waves[1])


def _blobs(rng: Generator, size: tuple[int, int]) -> Field:
    cells = rng.random(rng.integers(3, 9, 2), dtype=np.float32)
    return cv2.resize(cells, size[::-1], interpolation=cv2.INTER_CUBIC)


def _grain(rng: Generator, size: tuple[int, int]) -> Field:
    cell_size = rng.integers(1, 4)
    cells = rng.random((size[0] // cell_size + 1, size[1] // cell_size + 1), dtype=np.float32)
    return cv2.resize(cells, size[::-1], interpolation=cv2.INTER_LINEAR)


def _ramp(size: tuple[int, int], angle: float) -> np.ndarray:
    """The coordinate along a direction in radians, from -0.5 to 0.5 across the longer side; float32 (H, W)."""
    height, width = size
    y = (np.arange(height, dtype=np.float32) - height / 2) / max(size)
    x = (np.arange(width, dtype=np.float32) - width / 2) / max(size)
    return np.float32(np.sin(angle)) * y[:, None] + np.float32(np.cos(angle)) * x[None, :]


def _radians(rng: Generator) -> np.float32:
    """The phase that a periodic pattern runs through along the longer side: two to eight periods."""
    return np.float32(2 * np.pi * rng.uniform(2, 8))


def _sharpen(field: Field) -> Field:
    return np.clip((field - 0.5) * 6 + 0.5, 0, 1)


PATTERNS: dict[str, Callable[[Generator, tuple[int, int]], Field]] = {
    "plain": _plain,
    "gradient": _gradient,
    "glow": _glow,
    "waves": _waves,
    "stripes": _stripes,
    "checker": _checker,
    "blobs": _blobs,
    "grain": _grain,
}
