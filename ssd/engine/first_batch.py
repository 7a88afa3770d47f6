"""OUTPUT_DIR/first_batch.jpg: what the network sees first, and which priors are to find it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.engine.trainer import BatchTransform
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner
from ssd.utils.errors import ImageError
from ssd.utils.image import write_image
from ssd.visualization import draw_detections
from ssd.visualization.mosaic import mosaic

logger = logging.getLogger(__name__)

_MAX_IMAGES = 16
_COLUMNS = 4
_TILE = 400  # pixels of the longer side of a picture, or more
_BRIGHT = 150  # grey level above which lines are black, below it white


class FirstBatch:
    """A batch transform that also draws the batch of iteration 0; later it costs a comparison.

    Args:
        transform: what it does otherwise.
        mean: RGB, on the scale 0 to 255, with which ``transform`` normalises.
        std: likewise.
        detector: its head matches; one without ``assign_targets`` and ``priors`` does not tell.
        class_names: background first.
        path: of the picture; one that cannot be written is only warned of.
        show: gets the picture too, RGB uint8 (H, W, 3).
    """

    def __init__(
        self,
        transform: BatchTransform,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        detector: nn.Module,
        class_names: Sequence[str],
        path: Path,
        show: Callable[[np.ndarray], None],
    ):
        self._transform = transform
        self._mean, self._std = (torch.tensor(list(values), dtype=torch.float32) for values in (mean, std))
        self._detector = detector
        self._class_names = class_names
        self._path = path
        self._show = show

    def __call__(self, images: Tensor, targets: Container | None, iteration: int | None) -> Tensor:
        """Transform a batch."""
        inputs = self._transform(images, targets, iteration)
        if iteration == 0 and targets is not None:
            picture = draw_batch(self._to_pixels(inputs), targets, self._detector, self._class_names)
            self._show(picture)
            try:
                write_image(picture, self._path)
            except ImageError as error:
                logger.warning("The picture of the first batch is missing: %s", error)
        return inputs

    def _to_pixels(self, inputs: Tensor) -> np.ndarray:
        """Undo the normalisation: RGB uint8 (B, H, W, 3) of the first images."""
        pixels = inputs[:_MAX_IMAGES].detach().float().cpu().permute(0, 2, 3, 1) * self._std + self._mean
        return pixels.round().clamp(0, 255).to(torch.uint8).numpy()


def make_first_batch(
    cfg: Config,
    transform: BatchTransform,
    *,
    detector: nn.Module,
    class_names: Sequence[str],
    show: Callable[[np.ndarray], None],
) -> FirstBatch:
    """Build the transform that draws to OUTPUT_DIR."""
    return FirstBatch(
        transform,
        cfg.INPUT.PIXEL_MEAN,
        cfg.INPUT.PIXEL_STD,
        detector=detector,
        class_names=class_names,
        path=Path(cfg.OUTPUT_DIR, "first_batch.jpg"),
        show=show,
    )


@torch.no_grad()
def draw_batch(images: np.ndarray, targets: Container, detector: nn.Module, class_names: Sequence[str]) -> np.ndarray:
    """Draw images with their objects and, in thin black or white lines, the priors that are matched to these.

    Args:
        images: RGB uint8 (B, H, W, 3); ``targets`` may have more.
        targets: see ``collate_training``.
        detector: its head matches.
        class_names: background first.

    Returns:
        RGB uint8 (H, W, 3), with the number of objects and of their priors under each image.
    """
    head: Any = detector.box_head
    priors = center_to_corner(head.priors).cpu().numpy() if hasattr(head, "priors") else np.zeros((0, 4))
    is_matched = None
    if len(priors) and hasattr(head, "assign_targets"):
        matched, _ = head.assign_targets(targets, head.priors)
        is_matched = (matched > 0).cpu().numpy()
    boxes, labels = targets["boxes"].cpu().numpy(), targets["labels"].cpu().numpy()
    tiles, captions = [], []
    for row, image in enumerate(images):
        own_priors = priors[is_matched[row]] if is_matched is not None else priors[:0]
        is_object = labels[row] > 0
        tiles.append(_draw(image, boxes[row, is_object], labels[row, is_object], own_priors, class_names))
        counts = {"object": int(is_object.sum())} | ({} if is_matched is None else {"prior": len(own_priors)})
        captions.append(", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()))
    return mosaic(tiles, _COLUMNS, captions)


def _draw(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, priors: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw one image, enlarged if it is small; boxes and priors in corner form relative to it."""
    height, width = image.shape[:2]
    factor = max(1.0, _TILE / max(height, width))
    size = round(width * factor), round(height * factor)
    large = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST if factor >= 2 else cv2.INTER_LINEAR)
    scale = np.tile(size, 2)
    lines = np.zeros(large.shape[:2], np.uint8)
    for x1, y1, x2, y2 in (priors * scale).round().astype(int).tolist():
        cv2.rectangle(lines, (x1, y1), (x2, y2), 1, 1)
    is_bright = large.mean(axis=2, keepdims=True) > _BRIGHT
    large = np.where(lines[..., None] > 0, np.where(is_bright, 0, 255), large).astype(np.uint8)
    return draw_detections(large, boxes * scale, labels, None, class_names)
