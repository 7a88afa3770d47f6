"""The random geometry of SSD training: expand, crop, mirror and resize, drawn first and executed as one warp.

All of it is one axis-parallel map, given by the rectangle of the original image that becomes the network input and by
whether it is mirrored. The rectangle leaves the image where the image was expanded.

Legend: G boxes of an image, T crop trials, H and W height and width in pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# SSD, Sec. 2.2, "Data augmentation". Each is as likely as the others: None keeps the whole image, a number is the
# IoU that the crop must have with some object, -inf asks for nothing.
MIN_IOUS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, -np.inf)
CROP_TRIALS = 50  # before another mode is chosen
MIN_CROP_SIDE = 0.3  # of the image's; the paper says [0.1, 1] of its size, the original code this
MAX_CROP_ASPECT = 2.0  # and at least 1 / 2
EXPAND_PROBABILITY = 0.5
MAX_EXPAND_RATIO = 4.0  # SSD, Sec. 3.6: the image on a canvas of up to 16 times its area
MIRROR_PROBABILITY = 0.5


@dataclass(frozen=True)
class GeometricDraw:
    """What was drawn for one image.

    Attributes:
        rect: (x1, y1, x2, y2) in pixels of the original image; becomes the network input.
        mirror: exchange left and right.
    """

    rect: tuple[int, int, int, int]
    mirror: bool


@dataclass(frozen=True)
class GeometricSteps:
    """Which steps of the augmentation are taken."""

    expand: bool = True
    crop: bool = True
    mirror: bool = True


def draw_geometry(
    width: int,
    height: int,
    boxes: np.ndarray,
    rng: np.random.Generator,
    steps: GeometricSteps = GeometricSteps(),  # frozen
) -> GeometricDraw:
    """Draw expansion, crop and mirroring for an image. Without boxes nothing guides a crop, so there is none.

    Args:
        width: of the image in pixels.
        height: likewise.
        boxes: (G, 4) corner form in pixels.
        rng: the source of randomness.
        steps: those to take.
    """
    rect = (0, 0, width, height)
    if steps.expand and rng.random() < EXPAND_PROBABILITY:
        rect = draw_expansion(width, height, rng)
    if steps.crop and len(boxes):
        rect = draw_crop(rect, boxes, rng)
    return GeometricDraw(rect, mirror=steps.mirror and bool(rng.random() < MIRROR_PROBABILITY))


def draw_expansion(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a canvas around an image of ``width`` x ``height``, as a rectangle in pixels of the image."""
    ratio = rng.uniform(1, MAX_EXPAND_RATIO)
    left = int(rng.uniform(0, width * ratio - width))
    top = int(rng.uniform(0, height * ratio - height))
    return -left, -top, int(width * ratio) - left, int(height * ratio) - top


def draw_crop(
    canvas: tuple[int, int, int, int], boxes: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a part of the canvas that keeps an object (SSD, Sec. 2.2), or the whole of it.

    Args:
        canvas: (x1, y1, x2, y2) in pixels of the original image.
        boxes: (G, 4) corner form in the same pixels, G > 0.
        rng: the source of randomness.

    Returns:
        A rectangle inside the canvas, (x1, y1, x2, y2) in pixels of the original image.
    """
    while True:
        min_iou = MIN_IOUS[rng.integers(len(MIN_IOUS))]
        if min_iou is None:
            return canvas
        rects = _draw_trials(canvas, rng)
        accepted = rects[is_crop_accepted(rects, boxes, min_iou)]
        if len(accepted):
            x1, y1, x2, y2 = accepted[0].tolist()
            return x1, y1, x2, y2


def is_crop_accepted(rects: np.ndarray, boxes: np.ndarray, min_iou: float) -> np.ndarray:
    """Tell which crops overlap an object by ``min_iou`` or more and hold the centre of one.

    Args:
        rects: (T, 4) corner form in pixels.
        boxes: (G, 4) likewise, G > 0.
        min_iou: the least IoU that the best object must have with the crop.

    Returns:
        bool (T,).
    """
    sides = rects[:, 2:] - rects[:, :2]
    overlaps_enough = _iou(rects, boxes).max(axis=1) >= min_iou
    return (sides >= 1).all(axis=1) & overlaps_enough & _holds_center(rects, boxes).any(axis=1)


def map_boxes(boxes: np.ndarray, labels: np.ndarray, draw: GeometricDraw) -> tuple[np.ndarray, np.ndarray]:
    """Move boxes with the image: drop those whose centre is left out, clip the others.

    Args:
        boxes: (G, 4) corner form in pixels of the original image.
        labels: (G,) int64.
        draw: where the image went.

    Returns:
        The remaining boxes, float32 corner form relative to the network input and of positive area, and their labels.
    """
    rect = np.array([draw.rect])
    keep = _holds_center(rect, boxes)[0]
    origin, size = rect[:, :2], rect[:, 2:] - rect[:, :2]
    corners = (boxes[keep].astype(np.float64).reshape(-1, 2, 2) - origin) / size
    mapped = corners.clip(0, 1).reshape(-1, 4)
    if draw.mirror:
        mapped[:, [0, 2]] = 1 - mapped[:, [2, 0]]
    mapped = mapped.astype(np.float32)
    is_box = (mapped[:, 2:] > mapped[:, :2]).all(axis=1)
    return mapped[is_box], labels[keep][is_box]


def valid_area(width: int, height: int, draw: GeometricDraw, size: tuple[int, int]) -> np.ndarray:
    """Return the part of the network input that shows the image and not the border of an expansion.

    Args:
        width: of the original image in pixels.
        height: likewise.
        draw: where the image went.
        size: (height, width) of the network input in pixels.

    Returns:
        float32 (4,) corner form in pixels of the network input.
    """
    x1, y1, x2, y2 = draw.rect
    left, right = np.clip([-x1 / (x2 - x1), (width - x1) / (x2 - x1)], 0, 1) * size[1]
    top, bottom = np.clip([-y1 / (y2 - y1), (height - y1) / (y2 - y1)], 0, 1) * size[0]
    if draw.mirror:
        left, right = size[1] - right, size[1] - left
    return np.array([left, top, right, bottom], dtype=np.float32)


def warp_image(image: np.ndarray, draw: GeometricDraw, size: tuple[int, int]) -> np.ndarray:
    """Resample the drawn rectangle of an image to the network input, once, bilinearly and as cv2.resize would.

    What lies outside the image repeats its edge, so that nothing but image is blended inside of ``valid_area``;
    ``BatchTransform`` then sets the outside to the mean.

    Args:
        image: RGB uint8 (H, W, 3).
        draw: the rectangle, and whether it is mirrored.
        size: (height, width) of the network input in pixels.

    Returns:
        RGB uint8 (height, width, 3).
    """
    x1, y1, x2, y2 = draw.rect
    left, top = max(x1, 0), max(y1, 0)
    visible = image[top : max(y2, 0), left : max(x2, 0)]  # so that what was cropped off does not bleed in
    x_scale, y_scale = (x2 - x1) / size[1], (y2 - y1) / size[0]
    # Pixel u covers [u, u + 1) and is sampled at its centre: the half-pixel convention of cv2.resize.
    x_offset = x1 + 0.5 * x_scale - 0.5 - left
    y_offset = y1 + 0.5 * y_scale - 0.5 - top
    if draw.mirror:
        x_scale, x_offset = -x_scale, x2 - 0.5 * x_scale - 0.5 - left
    return cv2.warpAffine(
        visible,
        np.array([[x_scale, 0, x_offset], [0, y_scale, y_offset]]),
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _draw_trials(canvas: tuple[int, int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Those of 50 drawn rectangles (T, 4) in the canvas whose aspect ratio is allowed."""
    x1, y1, x2, y2 = canvas
    sides = rng.uniform(MIN_CROP_SIDE, 1, (CROP_TRIALS, 2)) * (x2 - x1, y2 - y1)  # (T, 2) width, height
    offsets = rng.uniform(0, 1, (CROP_TRIALS, 2)) * ((x2 - x1, y2 - y1) - sides)
    aspect = sides[:, 1] / sides[:, 0]
    is_allowed = (aspect >= 1 / MAX_CROP_ASPECT) & (aspect <= MAX_CROP_ASPECT)
    rects = np.concatenate([offsets, offsets + sides], axis=1)[is_allowed].astype(np.int64)
    return rects + np.array([x1, y1, x1, y1])


def _iou(rects: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU (T, G) of rectangles (T, 4) and boxes (G, 4)."""
    top_left = np.maximum(rects[:, None, :2], boxes[:, :2])
    bottom_right = np.minimum(rects[:, None, 2:], boxes[:, 2:])
    intersection = (bottom_right - top_left).clip(min=0).prod(axis=2)
    union = (rects[:, 2:] - rects[:, :2]).prod(axis=1)[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return intersection / np.maximum(union - intersection, np.finfo(np.float64).tiny)


def _holds_center(rects: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether the centre of each box lies strictly inside each rectangle, (T, G)."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((centers > rects[:, None, :2]) & (centers < rects[:, None, 2:])).all(axis=2)
