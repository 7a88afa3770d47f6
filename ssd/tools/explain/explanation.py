"""What a detector makes of one image, as data."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ssd.structures.boxes import pairwise_iou
from ssd.tools.explain.candidates import Candidates
from ssd.tools.explain.layout import Level, Place, place_of
from ssd.tools.explain.matching import Matching
from ssd.tools.explain.report import explanation_to_dict
from ssd.tools.explain.write import write_explanation
from ssd.utils.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Trace:
    """How one detection came to be.

    Attributes:
        number: of the detection, from 0, the best.
        candidate: its row among the candidates.
        prior: index of the prior that found it.
        place: of the prior.
        prior_box: (4,) the prior, corner form in pixels of the network input.
        offsets: (4,) dx, dy, dw, dh that the network predicts.
        box: (4,) the prior moved by them, corner form in pixels of the network input.
        label: its class.
        score: of that class.
        class_scores: (C,) of all classes, background first; their sum is 1.
        suppressed: (S,) int64, the candidates that it suppressed, best first.
        suppressed_iou: (S,) of their boxes with its box.
        rivals: (M,) int64, all candidates of its class, best first.
        rival_iou: (M,) of their boxes with its box.
        best_gt: the object that its box overlaps most; None = none.
        best_gt_iou: with it.
    """

    number: int
    candidate: int
    prior: int
    place: Place
    prior_box: Tensor
    offsets: Tensor
    box: Tensor
    label: int
    score: float
    class_scores: Tensor
    suppressed: Tensor
    suppressed_iou: Tensor
    rivals: Tensor
    rival_iou: Tensor
    best_gt: int | None
    best_gt_iou: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a detector makes of one image. All boxes are in pixels of the network input.

    Attributes:
        name: of the image, for people.
        image: RGB uint8 (S_h, S_w, 3), as the network sees it.
        orig_size: (width, height) of the image in pixels.
        class_names: index = label, background first.
        levels: the feature maps, the finest first.
        priors: (P, 4) corner form.
        class_scores: (P, C) of every prior, background first; a row sums to 1.
        offsets: (P, 4) predicted, see ``encode_boxes``.
        boxes: (P, 4) corner form, the priors moved by their offsets.
        candidates: what scores above the threshold, and what becomes of it.
        matching: what training would make of the image; None = its objects are not known.
    """

    name: str
    image: np.ndarray
    orig_size: tuple[int, int]
    class_names: tuple[str, ...]
    levels: list[Level]
    priors: Tensor
    class_scores: Tensor
    offsets: Tensor
    boxes: Tensor
    candidates: Candidates
    matching: Matching | None

    def place(self, prior: int) -> Place:
        """Return where a prior stands."""
        return place_of(prior, self.levels)

    def trace(self, number: int = 0) -> Trace:
        """Tell how a detection came to be.

        Args:
            number: which, from 0, the best.

        Raises:
            ConfigError: there are not as many.
        """
        found = self.candidates
        if not 0 <= number < len(found.detections):
            raise ConfigError(
                f"detection {number} of {self.name}: {len(found.detections)} score above TEST.CONFIDENCE_THRESHOLD "
                f"{found.score_threshold:g}, counted from 0"
            )
        candidate = int(found.detections[number])
        prior, label, box = int(found.priors[candidate]), int(found.labels[candidate]), found.boxes[candidate]
        rivals = found.of_class(label)
        rival_iou = _iou(box, found.boxes[rivals])
        is_own = found.suppressors[rivals] == candidate
        best_gt, best_gt_iou = self._best_gt(box)
        return Trace(
            number=number,
            candidate=candidate,
            prior=prior,
            place=self.place(prior),
            prior_box=self.priors[prior],
            offsets=self.offsets[prior],
            box=box,
            label=label,
            score=float(found.scores[candidate]),
            class_scores=self.class_scores[prior],
            suppressed=rivals[is_own],
            suppressed_iou=rival_iou[is_own],
            rivals=rivals,
            rival_iou=rival_iou,
            best_gt=best_gt,
            best_gt_iou=best_gt_iou,
        )

    def _best_gt(self, box: Tensor) -> tuple[int | None, float]:
        if self.matching is None or len(self.matching.boxes) == 0:
            return None, 0.0
        best_iou, best_gt = _iou(box, self.matching.boxes).max(dim=0)
        return (int(best_gt), float(best_iou)) if best_iou > 0 else (None, 0.0)

    def as_dict(self, detection: int = 0) -> dict[str, Any]:
        """Return the numbers of the pictures as plain data; ``detection`` is the one whose history is told."""
        return explanation_to_dict(self, detection)

    def draw(self, folder: str | os.PathLike[str], detection: int = 0) -> list[Path]:
        """Write explain.html, explain.json, and what they say as pictures.

        Args:
            folder: made if need be.
            detection: whose history is told, from 0, the best.

        Returns:
            The files.

        Raises:
            ConfigError: there are not as many detections. (None at all is no mistake: then none is told.)
            OutputError: a file cannot be written.
        """
        return write_explanation(self, Path(folder), detection)


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    """IoU of a box (4,) with boxes (N, 4): (N,)."""
    return pairwise_iou(box[None].double(), boxes.double())[0].float()
