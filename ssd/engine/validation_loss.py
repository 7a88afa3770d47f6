"""The losses of training on test images, measured while a detector detects in them."""

import logging
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssd.engine.step import count_positives
from ssd.evaluation import EvaluationDataset
from ssd.evaluation.inputs import read_annotation
from ssd.structures import Container
from ssd.utils.distributed import gather_tensors, is_main, without_means

logger = logging.getLogger(__name__)

_DIVISOR = ""  # no loss has this name


class ValidationLoss:
    """Asks the head for its losses on the features that a detection computes anyway.

    Used as a context around the detection. Only the head's own switch is turned to training, so batch norms keep their
    statistics and nothing is drawn. The losses are those of all images as one batch: each batch counts by the number
    that its losses were divided by, see ``count_positives``. Several processes measure their shares.

    Args:
        model: the detector, or what runs it (``InPrecision``); see ``has_validation_loss``.
        dataset: the images of the loader. Objects that are marked difficult are left out, as in training.
    """

    def __init__(self, model: nn.Module, dataset: EvaluationDataset):
        self._detector: nn.Module = getattr(model, "model", model)
        self._dataset = dataset
        self._device = next(model.parameters()).device
        self._targets: Container | None = None
        self._sums: list[dict[str, Tensor]] = []  # of each batch: losses before the division, and the divisor

    def expect(self, image_sizes: Tensor, ids: Tensor) -> None:
        """Take note of the batch that the model gets next.

        Args:
            image_sizes: (B, 2) height and width of the original images in pixels.
            ids: (B,) indices in the dataset.
        """
        self._targets = make_targets(self._dataset, image_sizes.tolist(), ids.tolist()).to(self._device)

    def result(self) -> dict[str, float]:
        """Return the losses of all images, "total_loss" (their sum) first; empty in processes other than rank 0.

        All processes must call this.
        """
        names = list(self._sums[0]) if self._sums else []
        parts = gather_tensors({name: torch.stack([sums[name] for sums in self._sums]) for name in names})
        parts = [part for part in parts or [] if part]
        if not parts:
            return {}
        totals = {name: float(torch.cat([part[name] for part in parts]).sum()) for name in parts[0]}
        divisor = totals.pop(_DIVISOR)
        losses = {name: total / divisor for name, total in totals.items()}
        return {"total_loss": sum(losses.values()), **losses}

    def __enter__(self) -> "ValidationLoss":
        head: nn.Module = self._detector.box_head  # type: ignore[assignment]
        self._handle = head.register_forward_hook(self._measure)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()

    def _measure(self, head: nn.Module, args: tuple[Any, ...], _: Any) -> None:
        """Called after the head has detected, while the network's number format is still set."""
        assert self._targets is not None, "a batch is announced before the model gets it"
        head.training = True
        try:
            with without_means():
                losses = head.forward(args[0], self._targets)
        finally:
            head.training = False
        divisor = count_positives(self._detector, self._targets).sum().cpu().double()
        sums = {name: loss.cpu().double() * divisor for name, loss in losses.items()}
        self._sums.append({_DIVISOR: divisor, **sums})
        self._targets = None


def has_validation_loss(model: nn.Module) -> bool:
    """Whether the head of a detector, or of what runs it, tells by what it divides its losses; if not, warn."""
    head = getattr(getattr(model, "model", model), "box_head", None)
    if hasattr(head, "assign_targets") and hasattr(head, "priors"):
        return True
    if is_main():
        message = "TEST.VALIDATION_LOSS needs a box_head with assign_targets and priors; %s has none"
        logger.warning(message, type(head).__name__)
    return False


def make_targets(dataset: EvaluationDataset, image_sizes: list[list[int]], ids: list[int]) -> Container:
    """Return the objects of some images as training targets, without those that are marked difficult.

    Args:
        dataset: the images.
        image_sizes: height and width of each in pixels.
        ids: their indices.

    Returns:
        boxes float32 (B, G, 4) corner form relative to the image, and labels int64 (B, G), both padded with 0.
    """
    annotations = [read_annotation(dataset, index) for index in ids]
    most = max(len(annotation.labels) for annotation in annotations)
    boxes, labels = torch.zeros(len(ids), most, 4), torch.zeros(len(ids), most, dtype=torch.int64)
    for row, (annotation, (height, width)) in enumerate(zip(annotations, image_sizes, strict=True)):
        kept = np.flatnonzero(~annotation.is_difficult)
        limit = np.array([width, height, width, height], dtype=np.float32)
        boxes[row, : len(kept)] = torch.from_numpy(np.clip(annotation.boxes[kept].astype(np.float32), 0, limit) / limit)
        labels[row, : len(kept)] = torch.from_numpy(annotation.labels[kept].astype(np.int64))
    return Container(boxes=boxes, labels=labels)
