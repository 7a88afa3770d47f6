"""Images and annotations of rendered scenes, functions of a seed and a number.

The layout is decided on integer masks and by a random generator of its own, so that annotations do not depend on the
rounding of colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from ssd.tools.data.scenes.shapes import SHAPES, Colors, Layer, paint_pattern, random_color, rasterise

# Probabilities of 0, 1, ... 8 shapes in a scene.
_NUM_SHAPES_PROBABILITIES = (0.04, 0.13, 0.18, 0.19, 0.16, 0.12, 0.08, 0.06, 0.04)
# Diameter of the smallest and the largest shape, relative to the shorter side of the image.
_MIN_DIAMETER, _MAX_DIAMETER = 1 / 10, 2 / 3
# Largest rotation of a shape, in radians: as in photographs, objects are mostly upright.
_MAX_TILT = 0.4
# Places drawn for each shape, and the probability of one completely inside the image.
_NUM_PLACES, _WHOLE_PROBABILITY = 3, 0.75
# A shape with a smaller visible fraction is not annotated: it cannot be recognised.
_MIN_VISIBLE_FRACTION = 0.1
# A shape with a smaller visible fraction or a shorter side in pixels is annotated as difficult.
_EASY_VISIBLE_FRACTION, _EASY_SIDE = 0.5, 12
# Distance in RGB, 0 to 255, between a shape and three quarters of the pixels below, where a few draws find one.
_MIN_CONTRAST, _MAX_COLOR_DRAWS = 100, 12


@dataclass(frozen=True)
class SceneObject:
    """Class of a shape, and the box of its visible part: corner form in pixels, without row and column of the end."""

    name: str
    box: tuple[int, int, int, int]
    is_truncated: bool
    is_difficult: bool


def render_scene(seed: int, number: int, image_size: tuple[int, int]) -> tuple[np.ndarray, list[SceneObject]]:
    """Render the scene of a seed and a number, of (width, height) pixels: RGB uint8 (H, W, 3), and its annotations."""
    layers = place_shapes(np.random.default_rng((seed, number, 0)), image_size)
    image = paint_scene(np.random.default_rng((seed, number, 1)), layers, image_size)
    return image, annotate(layers, image_size)


def place_shapes(rng: Generator, image_size: tuple[int, int]) -> list[Layer]:
    """Draw number, classes, sizes, deformations and places of shapes; each is above those before it."""
    occupied = np.zeros(image_size[::-1], bool)
    layers = []
    for _ in range(rng.choice(len(_NUM_SHAPES_PROBABILITIES), p=_NUM_SHAPES_PROBABILITIES)):
        layer = _place_shape(rng, occupied)
        in_image, in_layer = _overlap_windows(layer, occupied)
        occupied[in_image] |= layer.mask[in_layer]
        layers.append(layer)
    return layers


def annotate(layers: Sequence[Layer], image_size: tuple[int, int]) -> list[SceneObject]:
    """Return the annotations of the shapes that are not hidden, in the order of ``layers``."""
    covered = np.zeros(image_size[::-1], bool)
    objects = []
    for layer in reversed(layers):
        in_image, in_layer = _overlap_windows(layer, covered)
        mask = layer.mask
        visible = np.zeros_like(covered)
        visible[in_image] = mask[in_layer] & ~covered[in_image]
        covered[in_image] |= mask[in_layer]
        area = int(np.count_nonzero(mask))
        visible_fraction = int(np.count_nonzero(visible)) / area
        if visible_fraction < _MIN_VISIBLE_FRACTION:
            continue
        columns, rows = (np.flatnonzero(visible.any(axis=axis)) for axis in (0, 1))
        box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        is_small = min(box[2] - box[0], box[3] - box[1]) < _EASY_SIDE
        is_truncated = int(np.count_nonzero(mask[in_layer])) < area
        is_difficult = is_small or visible_fraction < _EASY_VISIBLE_FRACTION
        objects.append(SceneObject(layer.name, box, is_truncated, is_difficult))
    return objects[::-1]


def paint_scene(rng: Generator, layers: Sequence[Layer], image_size: tuple[int, int]) -> np.ndarray:
    """Paint shapes on a background, with random colours, patterns, outlines, shadows and noise; RGB uint8 (H, W, 3)."""
    first, other = (random_color(rng, saturation=(0.05, 0.7), value=(0.15, 0.95)) for _ in range(2))
    canvas = paint_pattern(rng, image_size[::-1], (first, first + rng.uniform(0.2, 0.7) * (other - first)))
    for layer in layers:
        colors = _contrasting_colors(rng, layer, canvas)
        if rng.random() < 0.6:
            _cast_shadow(rng, canvas, layer)
        paint = paint_pattern(rng, layer.coverage.shape, colors)
        if rng.random() < 0.35:
            _paint_outline(rng, paint, layer.coverage, colors[0])
        _blend(canvas, layer, paint)
    return _add_camera_noise(rng, canvas)


def _overlap_windows(layer: Layer, image: np.ndarray) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the image (H, W, ...) below a layer, and the part of the layer inside the image."""
    (height, width), (rows, columns) = image.shape[:2], layer.coverage.shape
    top, bottom = (min(max(y, 0), height) for y in (layer.top, layer.top + rows))
    left, right = (min(max(x, 0), width) for x in (layer.left, layer.left + columns))
    in_layer = slice(top - layer.top, bottom - layer.top), slice(left - layer.left, right - layer.left)
    return (slice(top, bottom), slice(left, right)), in_layer


def _place_shape(rng: Generator, occupied: np.ndarray) -> Layer:
    """Draw a shape; of the places drawn for it, take the one that covers least of the others."""
    height, width = occupied.shape
    name = list(SHAPES)[rng.integers(len(SHAPES))]
    diameter = min(height, width) * _MIN_DIAMETER * (_MAX_DIAMETER / _MIN_DIAMETER) ** rng.random()
    deformation = _draw_deformation(rng) * (diameter / 2)
    layer = rasterise(name, [contour @ deformation.T for contour in SHAPES[name]])
    places = [_draw_place(rng, layer, (width, height)) for _ in range(_NUM_PLACES)]
    windows = [_overlap_windows(place, occupied) for place in places]
    covered = [np.count_nonzero(occupied[in_image] & layer.mask[in_layer]) for in_image, in_layer in windows]
    return places[int(np.argmin(covered))]


def _draw_deformation(rng: Generator) -> np.ndarray:
    """Draw a slight stretch and shear followed by a rotation, as a matrix (2, 2) for column vectors."""
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    angle = rng.uniform(-_MAX_TILT, _MAX_TILT)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ np.array([[stretch, rng.uniform(-0.1, 0.1)], [0, 1 / stretch]])


def _draw_place(rng: Generator, layer: Layer, image_size: tuple[int, int]) -> Layer:
    """Move a layer to a random place: mostly inside the image, else with its middle anywhere in the image."""
    rows, columns = layer.coverage.shape
    free_width, free_height = image_size[0] - columns, image_size[1] - rows
    x, y = rng.random(2)
    if rng.random() < _WHOLE_PROBABILITY and min(free_width, free_height) >= 0:
        return replace(layer, left=round(x * free_width), top=round(y * free_height))
    return replace(layer, left=round(x * image_size[0] - columns / 2), top=round(y * image_size[1] - rows / 2))


def _contrasting_colors(rng: Generator, layer: Layer, canvas: np.ndarray) -> Colors:
    """Draw two tones until they are far from most of the pixels below a shape, or take the farthest of the draws."""
    in_image, in_layer = _overlap_windows(layer, canvas)
    under = canvas[in_image][layer.mask[in_layer]].astype(np.float64)  # (N, 3)
    under = under[:: len(under) // 64 + 1]  # 64 pixels are enough
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
    """First quartile of the RGB distances to the pixels ``under`` (N, 3); infinite without pixels."""
    distances = np.sort(np.linalg.norm(under - color, axis=1))
    return float(distances[len(distances) // 4]) if len(distances) else np.inf


def _cast_shadow(rng: Generator, canvas: np.ndarray, layer: Layer) -> None:
    """Darken the canvas next to a shape, in place."""
    reach = max(2, round(0.06 * max(layer.coverage.shape)))
    offset_x, offset_y = rng.integers(-reach, reach, 2, endpoint=True)
    padded = cv2.copyMakeBorder(layer.coverage, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    soft = cv2.blur(padded, (reach + 1, reach + 1))
    left, top = layer.left - reach + int(offset_x), layer.top - reach + int(offset_y)
    shadow = Layer(layer.name, left, top, cv2.convertScaleAbs(soft, alpha=rng.uniform(0.25, 0.6)))
    _blend(canvas, shadow, np.zeros((*soft.shape, 3), np.uint8))


def _paint_outline(rng: Generator, paint: np.ndarray, coverage: np.ndarray, color: np.ndarray) -> None:
    """Paint the rim of a shape in a lighter or darker tone, in place."""
    width = max(1, round(rng.uniform(0.02, 0.05) * max(coverage.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    rim = Layer("", 0, 0, 255 - cv2.erode(coverage, kernel))
    tone = 255.0 if color.mean() < 128 else 0.0
    _blend(paint, rim, np.full_like(paint, np.rint(0.2 * color + 0.8 * tone).astype(np.uint8)))


def _blend(canvas: np.ndarray, layer: Layer, paint: np.ndarray) -> None:
    """Draw ``paint`` (h, w, 3) over the canvas where the layer covers it, in place."""
    in_image, in_layer = _overlap_windows(layer, canvas)
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
