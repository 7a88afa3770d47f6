"""Random geometry of SSD training: expand, crop or jitter, mirror and resize, drawn first and executed as one warp.

Together the steps are one axis-parallel map: a rectangle of the original image becomes the network input, and may
be mirrored. The rectangle leaves the image where the image was expanded.

Legend: G boxes of an image, T crop trials, H and W height and width in pixels.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

# SSD, Sec. 2.2, "Data augmentation". The modes are equally likely: None keeps the whole image, a number is the least
# IoU of the crop with some object, 0 is no condition.
MIN_IOUS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_TRIALS = 50  # per mode, as in the original code; then another mode is chosen
CROP_MODES = 2  # modes that are drawn together, with their trials; mostly one of them leads to a crop
MIN_CROP_SIDE = 0.3  # share of the side of the image, as in the original code; the paper says [0.1, 1] of its size
MAX_CROP_ASPECT = 2.0  # and at least 1 / 2
EXPAND_PROBABILITY = 0.5
MAX_EXPAND_RATIO = 4.0  # SSD, Sec. 3.6: a canvas of up to 16 times the area of the image
MIRROR_PROBABILITY = 0.5
REDUCTIONS = (8, 4, 2)  # at which a JPEG can be decoded


@dataclass(frozen=True)
class GeometricDraw:
    """Result of a draw for one image: the rectangle that becomes the network input, and whether it is mirrored."""

    rect: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the original image
    mirror: bool


@dataclass(frozen=True)
class GeometricSteps:
    """Steps of the augmentation that are switched on; the last three replace ``expand`` and ``crop``."""

    expand: bool = True
    crop: bool = True
    mirror: bool = True
    scale: tuple[float, float] = (1.0, 1.0)  # least and largest factor on the size of objects
    aspect: tuple[float, float] = (1.0, 1.0)  # least and largest factor on their width over height
    shift: float = 0.0  # largest move of the image in each direction, as a share of the network input, at most 0.5

    @property
    def jitter(self) -> bool:
        """Whether scale, aspect ratio or place vary."""
        return (*self.scale, *self.aspect, self.shift) != (1, 1, 1, 1, 0)


def draw_geometry(
    width: int,
    height: int,
    boxes: np.ndarray,
    rng: np.random.Generator,
    steps: GeometricSteps = GeometricSteps(),  # frozen
) -> GeometricDraw:
    """Draw expansion and crop, or jitter, and mirroring for an image with boxes (G, 4), corner form in pixels."""
    rect = (0, 0, width, height)
    if steps.jitter:
        rect = draw_jitter(width, height, rng, steps)
    elif steps.expand and rng.random() < EXPAND_PROBABILITY:
        rect = draw_expansion(width, height, rng)
    if steps.crop and not steps.jitter and len(boxes):
        rect = draw_crop(rect, boxes, rng)
    return GeometricDraw(rect, mirror=steps.mirror and bool(rng.random() < MIRROR_PROBABILITY))


def draw_expansion(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a canvas around an image, as a rectangle (x1, y1, x2, y2) in pixels of the image."""
    size, x, y = rng.random(3).tolist()
    ratio = 1 + (MAX_EXPAND_RATIO - 1) * size
    left, top = int(x * (width * ratio - width)), int(y * (height * ratio - height))
    return -left, -top, int(width * ratio) - left, int(height * ratio) - top


def draw_jitter(width: int, height: int, rng: np.random.Generator, steps: GeometricSteps) -> tuple[int, int, int, int]:
    """Draw the rectangle (x1, y1, x2, y2), in pixels of the image, that is shown; it holds the image's centre."""
    scale, aspect, *place = rng.random(4).tolist()
    scale = steps.scale[0] + (steps.scale[1] - steps.scale[0]) * scale
    aspect = steps.aspect[0] * (steps.aspect[1] / steps.aspect[0]) ** aspect
    spans = []
    for side, factor, position in zip((width, height), (aspect**0.5, aspect**-0.5), place, strict=True):
        extent = side / (scale * factor)
        start = (side - extent) / 2 + (2 * position - 1) * steps.shift * extent
        spans.append((math.floor(start), math.ceil(start + extent)))
    (x1, x2), (y1, y2) = spans
    return x1, y1, x2, y2


def draw_crop(
    canvas: tuple[int, int, int, int], boxes: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a part of the canvas that keeps an object, or the whole canvas (SSD, Sec. 2.2).

    Canvas and result are (x1, y1, x2, y2) in pixels of the original image, boxes (G, 4) corner form, G > 0.
    """
    while True:
        modes = [MIN_IOUS[int(number * len(MIN_IOUS))] for number in rng.random(CROP_MODES).tolist()]
        keeps_canvas = None in modes
        min_ious = np.array(modes[: modes.index(None)] if keeps_canvas else modes, dtype=np.float64)
        if len(min_ious):
            rects = _draw_trials(canvas, CROP_TRIALS * len(min_ious), rng)
            is_accepted = is_crop_accepted(rects, boxes, min_ious.repeat(CROP_TRIALS))
            first = int(is_accepted.argmax())
            if is_accepted[first]:
                x1, y1, x2, y2 = map(int, rects[first].tolist())
                return x1, y1, x2, y2
        if keeps_canvas:
            return canvas


def _draw_trials(canvas: tuple[int, int, int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rectangles of whole numbers in the canvas, (T, 4). Those with a wrong aspect ratio are empty."""
    corners = np.array(canvas, dtype=np.float64)[:, None]
    origin, extent = corners[:2], corners[2:] - corners[:2]  # (2, 1): x and y
    rects = rng.random((4, count))
    low, sides = rects[:2], rects[2:]  # views of (2, T), changed in place
    sides *= (1 - MIN_CROP_SIDE) * extent
    sides += MIN_CROP_SIDE * extent
    low *= extent - sides
    low += origin
    sides *= np.maximum(sides[0], sides[1]) <= MAX_CROP_ASPECT * np.minimum(sides[0], sides[1])
    sides += low  # now the high corner
    return np.floor(rects, out=rects).T


def is_crop_accepted(rects: np.ndarray, boxes: np.ndarray, min_iou: float | np.ndarray) -> np.ndarray:
    """Return which crops, bool (T,), have an IoU of ``min_iou`` or more with an object, and contain the centre of one.

    Crops (T, 4) and boxes (G, 4), G > 0, are in corner form in pixels; ``min_iou`` is one number, or (T,).
    """
    low, high = rects.T[:2, None], rects.T[2:, None]  # (2, 1, T): x and y
    box_low, box_high = boxes.T[:2, :, None], boxes.T[2:, :, None]  # (2, G, 1)
    overlap = np.minimum(high, box_high) - np.maximum(low, box_low)
    np.maximum(overlap, 0, out=overlap)
    intersection = overlap[0] * overlap[1]  # (G, T)
    sides, box_sides = high - low, box_high - box_low
    area = sides[0] * sides[1]
    union = area + box_sides[0] * box_sides[1] - intersection
    overlaps_enough = intersection >= min_iou * union
    contains_center = _contains_center(low, high, box_low, box_high)
    # any() is a Python function that takes as long as everything above for arrays of this size.
    return (area[0] > 0) & np.logical_or.reduce(overlaps_enough) & np.logical_or.reduce(contains_center)


def _contains_center(low: np.ndarray, high: np.ndarray, box_low: np.ndarray, box_high: np.ndarray) -> np.ndarray:
    """Return whether the centres of boxes are strictly inside rectangles; corners (2, ...) that broadcast, x and y."""
    center = (box_low + box_high) / 2
    is_inside = (center > low) & (center < high)
    return is_inside[0] & is_inside[1]


def map_boxes(boxes: np.ndarray, labels: np.ndarray, draw: GeometricDraw) -> tuple[np.ndarray, np.ndarray]:
    """Move boxes with the image: drop those whose centre is outside, and clip the others.

    ``boxes`` (G, 4) are in corner form in pixels of the original image; the result, with its labels, is float32 corner
    form relative to the network input.
    """
    rect = np.array(draw.rect, dtype=np.float64)
    low, high = rect[:2, None], rect[2:, None]  # (2, 1): x and y
    keep = _contains_center(low, high, boxes.T[:2], boxes.T[2:])
    corners = (boxes.T.reshape(2, 2, -1) - low) / (high - low)  # (2, 2, G): low and high, x and y
    np.minimum(np.maximum(corners, 0, out=corners), 1, out=corners)
    if draw.mirror:
        corners[:, 0] = 1 - corners[::-1, 0]
    mapped = corners.astype(np.float32)
    is_positive = mapped[1] > mapped[0]
    keep &= is_positive[0] & is_positive[1]
    return mapped.reshape(4, -1).T[keep], labels[keep]


def valid_area(width: int, height: int, draw: GeometricDraw, size: tuple[int, int]) -> np.ndarray:
    """Return the part of the network input that shows the image, not border: float32 (4,), corner form in pixels."""
    x1, y1, x2, y2 = draw.rect
    left, right = _visible_span(x1, x2, width, size[1])
    top, bottom = _visible_span(y1, y2, height, size[0])
    if draw.mirror:
        left, right = size[1] - right, size[1] - left
    return np.array([left, top, right, bottom], dtype=np.float32)


def _visible_span(start: int, end: int, side: int, pixels: int) -> tuple[float, float]:
    """Return where [0, side) begins and ends when [start, end) is resized to ``pixels`` pixels."""
    first, last = max(start, 0), min(end, side)
    return (first - start) / (end - start) * pixels, (last - start) / (end - start) * pixels


def max_reduction(draw: GeometricDraw, size: tuple[int, int]) -> int:
    """Return how far an image may be reduced before it is warped to ``size`` (height, width) without magnifying it."""
    x1, y1, x2, y2 = draw.rect
    scale = min((x2 - x1) / size[1], (y2 - y1) / size[0])
    return next((reduction for reduction in REDUCTIONS if reduction <= scale), 1)


def warp_image(image: np.ndarray, draw: GeometricDraw, size: tuple[int, int], reduction: int = 1) -> np.ndarray:
    """Resample the drawn rectangle of an image to ``size`` (height, width), once and bilinearly, like cv2.resize.

    ``image`` is RGB uint8 (H, W, 3), and smaller than the original by the factor ``reduction``. In the result, pixels
    inside ``valid_area`` blend nothing but image. The border is black but for a pixel at its edge; ``BatchTransform``
    sets it to the mean.
    """
    x1, y1, x2, y2 = draw.rect
    is_inside = min(x1, y1) >= 0 and x2 <= image.shape[1] * reduction and y2 <= image.shape[0] * reduction
    if is_inside and not any(side % reduction for side in draw.rect):
        crop = image[y1 // reduction : y2 // reduction, x1 // reduction : x2 // reduction]
        resized = cv2.resize(crop, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return cv2.flip(resized, 1) if draw.mirror else resized
    return _warp_visible(image, draw, size, reduction)


def _warp_visible(image: np.ndarray, draw: GeometricDraw, size: tuple[int, int], reduction: int) -> np.ndarray:
    """Warp any rectangle. A pixel costs several times as much as with cv2.resize, so only the image is resampled."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (side / reduction for side in draw.rect)  # in pixels of ``image``
    left, top = math.floor(max(x1, 0)), math.floor(max(y1, 0))
    visible = image[top : math.ceil(y2), left : math.ceil(x2)]  # so that pixels outside the crop are not blended in
    area = valid_area(width * reduction, height * reduction, draw, size).tolist()
    u1, v1, u2, v2 = math.floor(area[0]), math.floor(area[1]), math.ceil(area[2]), math.ceil(area[3])
    x_scale, y_scale = (x2 - x1) / size[1], (y2 - y1) / size[0]
    # Pixel u covers [u, u + 1) and is sampled at its centre: the half-pixel convention of cv2.resize.
    x_offset = x1 + (u1 + 0.5) * x_scale - 0.5 - left
    y_offset = y1 + (v1 + 0.5) * y_scale - 0.5 - top
    if draw.mirror:
        x_scale, x_offset = -x_scale, x2 - (u1 + 0.5) * x_scale - 0.5 - left
    warped = np.zeros((*size, 3), np.uint8)
    cv2.warpAffine(
        visible,
        np.array([[x_scale, 0, x_offset], [0, y_scale, y_offset]]),
        (u2 - u1, v2 - v1),
        dst=warped[v1:v2, u1:u2],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return warped
