"""One scene: its image and its annotations, a function of a seed and a number."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from ssd.tools.data.scenes.layout import SceneObject, annotate, overlap_windows, place_shapes
from ssd.tools.data.scenes.patterns import Colors, paint_pattern, random_color
from ssd.tools.data.scenes.shapes import Layer

# Distance in RGB, 0 to 255, that a shape keeps from three quarters of what lies under it, where a few tries find it.
_MIN_CONTRAST = 100
_MAX_COLOR_DRAWS = 12


def render_scene(seed: int, number: int, image_size: tuple[int, int]) -> tuple[np.ndarray, list[SceneObject]]:
    """Render a scene.

    Args:
        seed, number: not negative; equal pairs give equal scenes.
        image_size: (width, height) in pixels.

    Returns:
        The image, RGB uint8 (H, W, 3), and its annotations.
    """
    layers = place_shapes(np.random.default_rng((seed, number, 0)), image_size)
    image = paint_scene(np.random.default_rng((seed, number, 1)), layers, image_size)
    return image, annotate(layers, image_size)


def paint_scene(rng: Generator, layers: Sequence[Layer], image_size: tuple[int, int]) -> np.ndarray:
    """Paint shapes on a background.

    Args:
        rng: decides colours, patterns, outlines, shadows and noise.
        layers: the shapes, each over those before it.
        image_size: (width, height) in pixels.

    Returns:
        The image, RGB uint8 (H, W, 3).
    """
    canvas = _paint_background(rng, image_size[::-1])
    for layer in layers:
        colors = _contrasting_colors(rng, _pixels_under(layer, canvas))
        if rng.random() < 0.6:
            _cast_shadow(rng, canvas, layer)
        _paint_shape(rng, canvas, layer, colors)
    return _add_camera_noise(rng, canvas)


def _paint_background(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    first, other = (random_color(rng, saturation=(0.05, 0.7), value=(0.15, 0.95)) for _ in range(2))
    second = first + rng.uniform(0.2, 0.7) * (other - first)
    return paint_pattern(rng, size, (first, second))


def _cast_shadow(rng: Generator, canvas: np.ndarray, layer: Layer) -> None:
    """Darken the canvas beside a shape, in place."""
    reach = max(2, round(0.06 * max(layer.coverage.shape)))
    offset_x, offset_y = rng.integers(-reach, reach, 2, endpoint=True)
    padded = cv2.copyMakeBorder(layer.coverage, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    soft = cv2.blur(padded, (reach + 1, reach + 1))
    left, top = layer.left - reach + int(offset_x), layer.top - reach + int(offset_y)
    shadow = Layer(layer.name, left, top, cv2.convertScaleAbs(soft, alpha=rng.uniform(0.25, 0.6)))
    _blend(canvas, shadow, np.zeros((*soft.shape, 3), np.uint8))


def _paint_shape(rng: Generator, canvas: np.ndarray, layer: Layer, colors: Colors) -> None:
    """Paint a shape on the canvas, in place."""
    paint = paint_pattern(rng, layer.coverage.shape, colors)
    if rng.random() < 0.35:
        _paint_outline(rng, paint, layer.coverage, colors[0])
    _blend(canvas, layer, paint)


def _pixels_under(layer: Layer, canvas: np.ndarray) -> np.ndarray:
    """At most 64 of the pixels that a shape is going to cover, float (N, 3)."""
    in_image, in_layer = overlap_windows(layer, (canvas.shape[1], canvas.shape[0]))
    pixels = canvas[in_image][layer.mask[in_layer]].astype(np.float64)
    return pixels[:: len(pixels) // 64 + 1]


def _contrasting_colors(rng: Generator, under: np.ndarray) -> Colors:
    """Draw two tones until they are far from most of the pixels ``under`` (N, 3), or take the farthest of the draws."""
    best_colors, best_contrast = (np.zeros(3), np.zeros(3)), -1.0
    for _ in range(_MAX_COLOR_DRAWS):
        color = random_color(rng, saturation=(0.2, 1.0), value=(0.25, 1.0))
        shade = 255.0 if rng.random() < 0.5 else 0.0
        colors = color, color + rng.uniform(0.1, 0.4) * (shade - color)
        tones = colors[0], (colors[0] + colors[1]) / 2, colors[1]  # the pattern mixes the two
        contrast = min(_contrast(tone, under) for tone in tones)
        if contrast > best_contrast:
            best_colors, best_contrast = colors, contrast
        if contrast >= _MIN_CONTRAST:
            break
    return best_colors


def _contrast(color: np.ndarray, under: np.ndarray) -> float:
    """The RGB distance that a quarter of the pixels ``under`` (N, 3) falls short of; infinite without pixels."""
    distances = np.sort(np.linalg.norm(under - color, axis=1))
    return float(distances[len(distances) // 4]) if len(distances) else np.inf


def _paint_outline(rng: Generator, paint: np.ndarray, coverage: np.ndarray, color: np.ndarray) -> None:
    """Paint the rim of a shape in a lighter or darker tone, in place."""
    width = max(1, round(rng.uniform(0.02, 0.05) * max(coverage.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    rim = Layer("", 0, 0, 255 - cv2.erode(coverage, kernel))
    tone = 255.0 if color.mean() < 128 else 0.0
    _blend(paint, rim, np.full_like(paint, np.rint(0.2 * color + 0.8 * tone).astype(np.uint8)))


def _blend(canvas: np.ndarray, layer: Layer, paint: np.ndarray) -> None:
    """Lay ``paint`` (h, w, 3) over the canvas where the layer covers it, in place."""
    in_image, in_layer = overlap_windows(layer, (canvas.shape[1], canvas.shape[0]))
    alpha = layer.coverage[in_layer][..., None].astype(np.uint16)
    mixed = canvas[in_image] * (255 - alpha) + paint[in_layer] * alpha
    canvas[in_image] = (mixed + 127) // 255


def _add_camera_noise(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Blur some images lightly and add uniform noise to most."""
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.0))
    amplitude = int(rng.integers(0, 13))
    noise = rng.integers(0, 2 * amplitude + 1, image.shape, dtype=np.uint8)
    return cv2.subtract(cv2.add(image, noise), np.full_like(image, amplitude))
