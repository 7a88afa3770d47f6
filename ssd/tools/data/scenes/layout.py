"""Where the shapes of a scene lie, and what can be seen of them: everything that the annotations follow from.

Decided on integer masks and by draws of its own, so that the annotations do not depend on how colours are rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from ssd.tools.data.scenes.shapes import SHAPES, Layer, rasterise

# How often a scene has 0, 1, ... 8 shapes.
_NUM_SHAPES_PROBABILITIES = (0.04, 0.13, 0.18, 0.19, 0.16, 0.12, 0.08, 0.06, 0.04)
# Diameter of the smallest and the largest shape, relative to the shorter side of the image.
_MIN_DIAMETER, _MAX_DIAMETER = 1 / 10, 2 / 3
# Largest rotation of a shape, in radians: as in photographs, things mostly stand upright.
_MAX_TILT = 0.4
# Places drawn for each shape, and how often one keeps wholly inside the image.
_NUM_PLACES = 3
_WHOLE_PROBABILITY = 0.75
# Less than this much visible: nobody could tell what it is, so it is not annotated.
MIN_VISIBLE_FRACTION = 0.1
# Less than this much visible, or a side shorter than this: annotated as difficult.
EASY_VISIBLE_FRACTION = 0.5
EASY_SIDE = 12


@dataclass(frozen=True)
class SceneObject:
    """The annotation of one shape.

    Attributes:
        name: the class.
        box: corner form in pixels around what is visible; the last column is ``box[2] - 1``.
        is_truncated: a part lies outside the image.
        is_difficult: little of it is visible, or it is very small.
    """

    name: str
    box: tuple[int, int, int, int]
    is_truncated: bool
    is_difficult: bool


def place_shapes(rng: Generator, image_size: tuple[int, int]) -> list[Layer]:
    """Draw the shapes of a scene.

    Args:
        rng: decides number, classes, sizes, deformations and places.
        image_size: (width, height) in pixels.

    Returns:
        The shapes, each over those before it.
    """
    occupied = np.zeros(image_size[::-1], bool)
    layers = []
    for _ in range(rng.choice(len(_NUM_SHAPES_PROBABILITIES), p=_NUM_SHAPES_PROBABILITIES)):
        layer = _place_shape(rng, occupied)
        in_image, in_layer = overlap_windows(layer, image_size)
        occupied[in_image] |= layer.mask[in_layer]
        layers.append(layer)
    return layers


def annotate(layers: Sequence[Layer], image_size: tuple[int, int]) -> list[SceneObject]:
    """Describe what can be seen of the shapes.

    Args:
        layers: the shapes, each over those before it.
        image_size: (width, height) in pixels.

    Returns:
        The annotations in the order of ``layers``, without the shapes that are hidden.
    """
    covered = np.zeros(image_size[::-1], bool)
    objects = []
    for layer in reversed(layers):
        in_image, in_layer = overlap_windows(layer, image_size)
        mask = layer.mask
        visible = np.zeros_like(covered)
        visible[in_image] = mask[in_layer] & ~covered[in_image]
        covered[in_image] |= mask[in_layer]
        area = int(np.count_nonzero(mask))
        visible_fraction = int(np.count_nonzero(visible)) / area
        if visible_fraction < MIN_VISIBLE_FRACTION:
            continue
        box = _extent(visible)
        is_small = min(box[2] - box[0], box[3] - box[1]) < EASY_SIDE
        is_truncated = int(np.count_nonzero(mask[in_layer])) < area
        objects.append(
            SceneObject(
                layer.name, box, is_truncated, is_difficult=is_small or visible_fraction < EASY_VISIBLE_FRACTION
            )
        )
    return objects[::-1]


def overlap_windows(layer: Layer, image_size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the image that a layer lies on, and the part of the layer that lies on the image."""
    width, height = image_size
    rows, columns = layer.coverage.shape
    top, bottom = (min(max(y, 0), height) for y in (layer.top, layer.top + rows))
    left, right = (min(max(x, 0), width) for x in (layer.left, layer.left + columns))
    in_layer = slice(top - layer.top, bottom - layer.top), slice(left - layer.left, right - layer.left)
    return (slice(top, bottom), slice(left, right)), in_layer


def _extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The corner-form box of the pixels that are set; at least one is."""
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _place_shape(rng: Generator, occupied: np.ndarray) -> Layer:
    """Draw a shape; of the places drawn for it, take the one that covers least of the others."""
    height, width = occupied.shape
    name = list(SHAPES)[rng.integers(len(SHAPES))]
    diameter = min(height, width) * _MIN_DIAMETER * (_MAX_DIAMETER / _MIN_DIAMETER) ** rng.random()
    deformation = _draw_deformation(rng) * (diameter / 2)
    layer = rasterise(name, [contour @ deformation.T for contour in SHAPES[name]()])
    places = [_draw_place(rng, layer, (width, height)) for _ in range(_NUM_PLACES)]
    return min(places, key=lambda place: _num_covered(place, occupied))


def _draw_deformation(rng: Generator) -> np.ndarray:
    """Draw a slight stretch and shear followed by a rotation, as a matrix (2, 2) for column vectors."""
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    angle = rng.uniform(-_MAX_TILT, _MAX_TILT)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ np.array([[stretch, rng.uniform(-0.1, 0.1)], [0, 1 / stretch]])


def _draw_place(rng: Generator, layer: Layer, image_size: tuple[int, int]) -> Layer:
    """Move a layer to a random place: mostly wholly in the image, else with its middle anywhere in the image."""
    rows, columns = layer.coverage.shape
    free_width, free_height = image_size[0] - columns, image_size[1] - rows
    x, y = rng.random(2)
    if rng.random() < _WHOLE_PROBABILITY and min(free_width, free_height) >= 0:
        return replace(layer, left=round(x * free_width), top=round(y * free_height))
    return replace(layer, left=round(x * image_size[0] - columns / 2), top=round(y * image_size[1] - rows / 2))


def _num_covered(layer: Layer, occupied: np.ndarray) -> int:
    in_image, in_layer = overlap_windows(layer, (occupied.shape[1], occupied.shape[0]))
    return int(np.count_nonzero(occupied[in_image] & layer.mask[in_layer]))
