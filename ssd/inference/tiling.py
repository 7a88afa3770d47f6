"""Views of an image: the whole, then its tiles; and one set of detections from those of V views. Legend: N boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssd.data.samples import resize_image
from ssd.inference.sources import Frame
from ssd.structures import Container
from ssd.structures.boxes import class_wise_nms

OVERLAP = 0.2  # of neighbouring tiles, relative to a tile

Corners = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
# A tile leaves a box to its neighbour when the centre is nearer to that by this part of their overlap. Boxes of one
# object differ between tiles: at zero, each tile could leave it to the other.
_SLACK = 1 / 8
# A box that ends this near to an edge of its tile, relative to the tile, counts as cut.
_NEAR = 0.02
# A cut box gives way to a box that holds this part of it and has at least this part of its score.
_HELD, _SCORE_RATIO = 0.75, 0.5
_CUT_AT_ONCE = 256  # bounds the memory of comparing cut boxes with whole ones


@dataclass
class ImageViews:
    """Views of an image, and their detections so far."""

    frame: Frame  # without pixels if they are not needed any more
    size: tuple[int, int]  # (width, height) in pixels
    resized: np.ndarray  # the whole image at the network's size
    corners: list[Corners]  # of the tiles
    keeps_pixels: bool  # whether the result carries the pixels
    found: list[Container] = field(default_factory=list)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the views at the network's size, uint8; a tile is resized in its turn."""
        yield self.resized
        for x1, y1, x2, y2 in self.corners:
            yield resize_image(self.frame.image[y1:y2, x1:x2], self.resized.shape[:2])


def make_views(
    frame: Frame, image_size: tuple[int, int], *, tile: tuple[int, int] | None, keeps_pixels: bool
) -> ImageViews:
    """Resize an image to ``image_size`` (height, width), and divide it into tiles of (width, height) pixels."""
    size = frame.image.shape[1], frame.image.shape[0]
    corners = tile_corners(size, tile) if tile else []
    resized = resize_image(frame.image, image_size)
    keeps_pixels = keeps_pixels or (frame.path is None and frame.video is None)  # others can be read again
    if not keeps_pixels and not corners:
        frame = replace(frame, image=_NO_PIXELS)
    return ImageViews(frame, size, resized, corners, keeps_pixels)


def tile_corners(size: tuple[int, int], tile: tuple[int, int], overlap: float = OVERLAP) -> list[Corners]:
    """Return the tiles (width, height) of an image (width, height), row by row; none if it is no larger than a tile.

    Neighbours overlap at least by this part of a tile; the last ones of a row or column are moved inside.
    """
    if size[0] <= tile[0] and size[1] <= tile[1]:
        return []
    columns, rows = (_spans(*lengths, overlap) for lengths in zip(size, tile, strict=True))
    return [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]


def _spans(length: int, tile: int, overlap: float) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    stride = max(1, int(tile * (1 - overlap)))
    num_tiles = -(-(length - tile) // stride) + 1
    starts = [min(index * stride, length - tile) for index in range(num_tiles)]
    return [(start, start + tile) for start in starts]


class _Boxes(NamedTuple):
    boxes: Tensor  # (N, 4) corner form in pixels of the image
    labels: Tensor  # (N,)
    scores: Tensor  # (N,)
    is_cut: Tensor  # (N,) bool: by an edge of its tile

    def where(self, mask: Tensor) -> "_Boxes":
        return _Boxes(*(field[mask] for field in self))


@torch.inference_mode()
def merge_views(
    views: Sequence[Container], corners: Sequence[Corners], size: tuple[int, int], iou_threshold: float
) -> Container:
    """Turn the detections of V views into those of the image.

    An object no larger than three quarters of the overlap is whole in some tile and is found once: tiles that may cut
    it leave it to the one with the nearest centre. A part of a larger object that an edge has cut off gives way to the
    whole, if that is found. Class-wise NMS does the rest. Boxes of the views are in pixels of the network input, the
    results in those of the image of ``size`` (width, height).
    """
    whole, *tiles = views
    whole = whole.resize(size)
    if not tiles:
        return whole
    is_cut = torch.zeros(len(whole["boxes"]), dtype=torch.bool)
    parts = [_Boxes(whole["boxes"], whole["labels"], whole["scores"], is_cut)]
    columns, rows = (sorted({(corner[side], corner[side + 2]) for corner in corners}) for side in (0, 1))
    for found, (x1, y1, x2, y2) in zip(tiles, corners, strict=True):
        boxes = found.resize((x2 - x1, y2 - y1))["boxes"] + torch.tensor([x1, y1, x1, y1])
        owned_x, cut_x = _ownership(boxes[:, 0::2], columns, (x1, x2))
        owned_y, cut_y = _ownership(boxes[:, 1::2], rows, (y1, y2))
        part = _Boxes(boxes, found["labels"], found["scores"], cut_x | cut_y)
        parts.append(part.where(owned_x & owned_y))
    together = _Boxes(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
    together = together.where(~_gives_way(together))
    kept = class_wise_nms(together.boxes, together.labels, together.scores, iou_threshold)
    merged = Container(boxes=together.boxes[kept], labels=together.labels[kept], scores=together.scores[kept])
    merged.img_width, merged.img_height = size
    return merged


def _ownership(sides: Tensor, spans: Sequence[tuple[int, int]], span: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return which boxes of a tile are its own along one axis, and which its edges cut: two bool (N,).

    ``sides`` (N, 2), ``spans`` and ``span`` are first and last coordinates of the boxes, all tiles and this tile.
    """
    index, centers = spans.index(span), sides.mean(dim=1)
    is_own, is_cut = torch.ones_like(centers, dtype=torch.bool), torch.zeros_like(centers, dtype=torch.bool)
    (start, end), near = span, _NEAR * (span[1] - span[0])
    if index > 0:
        is_own &= centers >= start + (0.5 - _SLACK) * (spans[index - 1][1] - start)
        is_cut |= sides[:, 0] < start + near
    if index < len(spans) - 1:
        is_own &= centers <= end - (0.5 - _SLACK) * (end - spans[index + 1][0])
        is_cut |= sides[:, 1] > end - near
    return is_own, is_cut


def _gives_way(found: _Boxes) -> Tensor:
    """Return which cut boxes are parts of a whole one of their class, (N,) bool."""
    gives_way = torch.zeros_like(found.is_cut)
    for label in found.labels[found.is_cut].unique():
        is_label = found.labels == label
        wholes = found.where(is_label & ~found.is_cut)
        for rows in (is_label & found.is_cut).nonzero().squeeze(1).split(_CUT_AT_ONCE):
            is_held = _held_part(found.boxes[rows], wholes.boxes) >= _HELD  # (M, W)
            is_sure = wholes.scores >= _SCORE_RATIO * found.scores[rows, None]
            gives_way[rows] = (is_held & is_sure).any(dim=1)
    return gives_way


def _held_part(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the part of each box (M, 4) inside each of the others (W, 4): (M, W)."""
    top_left = torch.maximum(boxes[:, None, :2], others[:, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(2)
    box_width, box_height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6).unbind(1)
    return width * height / (box_width * box_height)[:, None]
