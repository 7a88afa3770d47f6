"""One image as a detector sees it: priors, matches, hard negatives and candidates."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssd.data.samples import resize_image
from ssd.data.transforms.geometry import GeometricDraw, map_boxes
from ssd.inference.notebook import picture_html
from ssd.inference.predictor import Predictor
from ssd.inference.sources import Frame, SingleImage, open_source
from ssd.inference.torch_network import TorchNetwork
from ssd.modeling.anchors import PriorBox
from ssd.modeling.box_head import MultiBoxLoss, Predictions, SoftPostProcessor, SSDBoxHead
from ssd.modeling.box_head.box_predictor import class_scores
from ssd.structures.boxes import center_to_corner
from ssd.tools.explain.candidates import Candidates, find_candidates
from ssd.tools.explain.matching import Matching, match
from ssd.tools.explain.page import write_files
from ssd.tools.explain.pictures import draw_detection, draw_matches, draw_negatives, draw_priors
from ssd.utils.errors import ConfigError, ImageError
from ssd.visualization.theme import figure_to_rgb


class Place(NamedTuple):
    """Place of a prior: its level from 1, row and column of its cell, and its shape in the cell, from 0."""

    level: int
    row: int
    column: int
    shape: int

    def __str__(self) -> str:
        return f"level {self.level}, row {self.row}, column {self.column}, shape {self.shape}"


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """One image as a detector sees it. All boxes are in pixels of the network input."""

    name: str
    image: np.ndarray  # RGB uint8 (S_h, S_w, 3), the network input
    orig_size: tuple[int, int]  # (width, height) of the original image in pixels
    class_names: tuple[str, ...]  # name of each label, background first
    prior_box: PriorBox
    priors: Tensor  # (P, 4) corner form
    class_scores: Tensor  # (P, C) with background first: the probability of no class
    offsets: Tensor  # (P, 4) predicted offsets, see BoxCoder
    candidates: Candidates
    matching: Matching | None  # matches and losses; None if the objects are not known

    @property
    def level_priors(self) -> list[Tensor]:
        """Priors of each level, the finest first, (H_l * W_l * A_l, 4) each."""
        levels = zip(self.prior_box.feature_maps, self.prior_box.shapes, strict=True)
        return list(self.priors.split([rows * columns * len(shapes) for (rows, columns), shapes in levels]))

    def place(self, prior: int) -> Place:
        """Return the place of the prior with this index."""
        ends = torch.tensor([len(priors) for priors in self.level_priors]).cumsum(0)
        level = int(torch.searchsorted(ends, prior, right=True))
        start = int(ends[level - 1]) if level else 0
        cell, shape = divmod(prior - start, len(self.prior_box.shapes[level]))
        return Place(level + 1, *divmod(cell, self.prior_box.feature_maps[level][1]), shape)

    def find_detection(self, number: int) -> int:
        """Return the candidate of a detection, counted from 0, the best; raise ConfigError if there is none."""
        found = self.candidates
        if not 0 <= number < len(found.detections):
            raise ConfigError(
                f"detection {number} of {self.name}: {len(found.detections)} score above TEST.CONFIDENCE_THRESHOLD "
                f"{found.score_threshold:g}, counted from 0"
            )
        return int(found.detections[number])

    def describe_match(self, gt: int) -> str:
        """Return the priors of an object in words."""
        assert self.matching is not None
        priors = self.matching.priors_of(gt)
        if len(priors) == 0:
            return "no prior is left for it"
        levels = [self.place(prior).level for prior in priors.tolist()]
        where = f"level {levels[0]}" if min(levels) == max(levels) else f"levels {min(levels)} to {max(levels)}"
        best = float(self.matching.iou[priors[0]])
        if self.matching.is_forced[priors].all():
            return f"forced, IoU {best:.2f}, {where}"
        return f"{len(priors)} prior{'s' * (len(priors) != 1)}, best IoU {best:.2f}, {where}"

    def to_text(self, detection: int = 0) -> str:
        """Return the most important numbers as lines of text, with the origin of one detection."""
        (height, width), matching, found = self.image.shape[:2], self.matching, self.candidates
        lines = [f"{self.name}: {self.orig_size[0]} x {self.orig_size[1]}, seen as {width} x {height}"]
        if matching is not None:
            for gt, label in enumerate(matching.labels.tolist()):
                lines.append(f"  object {gt} ({self.class_names[label]}): {self.describe_match(gt)}")
            losses = ", ".join(f"{name} {loss:.3f}" for name, loss in matching.losses.items())
            num_pos, num_neg = int(matching.pos_mask.sum()), len(matching.negatives)
            num_background = int((matching.prior_labels == 0).sum())
            lines.append(f"{num_pos} positives, {num_neg} of {num_background} negatives in the loss: {losses}")
        lines.append(
            f"{found.num_above} candidates score above {found.score_threshold:g}; of the best {len(found.priors)} "
            f"{int((found.suppressors >= 0).sum())} are suppressed by NMS and {len(found.detections)} detections"
        )
        if len(found.detections):
            row = self.find_detection(detection)
            prior, name = int(found.priors[row]), self.class_names[int(found.labels[row])]
            offsets = ", ".join(f"{value:+.2f}" for value in self.offsets[prior].tolist())
            lines.append(f"detection {detection}: {name} {float(found.scores[row]):.2f}")
            lines.append(f"  prior at {self.place(prior)}; offsets {offsets}")
            lines.append(f"  suppressed {len(found.suppressed_by(row))} other candidates of its class")
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<Explanation of {self.name}: {len(self.candidates.detections)} detections; print it, or write(FOLDER)>"

    def _repr_html_(self) -> str:
        pictures = (picture_html(figure_to_rgb(figure), name) for name, figure in self.draw().items())
        return f"<pre>{escape(self.to_text())}</pre>{''.join(pictures)}"

    def draw(self, detection: int = 0) -> dict[str, Figure]:
        """Return the pictures "priors", "matches", "negatives" and "detection", without those that would be empty.

        ``detection`` is the number of the one in the last picture, from 0, the best.
        """
        figures = {"priors": draw_priors(self)}
        if self.matching is not None:
            figures["negatives"] = draw_negatives(self, self.matching)
            if len(self.matching.boxes):
                figures["matches"] = draw_matches(self, self.matching)
        if len(self.candidates.detections):
            figures["detection"] = draw_detection(self, self.find_detection(detection))
        return figures

    def write(self, folder: str | os.PathLike[str], detection: int = 0) -> list[Path]:
        """Write explain.html and the pictures of ``draw`` as PNG files into a folder; return the paths."""
        return write_files(self, Path(folder), detection)


def explain(
    detector: Predictor,
    image: object,
    boxes: np.ndarray | Sequence[Sequence[float]] | None = None,
    labels: np.ndarray | Sequence[int | str] | None = None,
) -> Explanation:
    """Explain how a detector of ``init_detector`` sees one image, not augmented, with its network in evaluation mode.

    ``image`` is a path, URL, PIL image, RGB array, tensor (3, H, W), or the content of a file. The objects, if known:
    ``boxes`` (G, 4) corner form in pixels of the image, and ``labels`` (G,), their classes by name or number from 1. As
    in training, boxes are clipped, and those whose centre is outside the image are dropped.
    """
    frame, network, head = _read(image), *_find_head(detector)
    pixels = resize_image(frame.image, detector.image_size)
    outputs = network.predict(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    predictions = Predictions(*(output.clone() for output in outputs))  # ordinary tensors, outside inference mode
    height, width = detector.image_size
    size = head.priors.new_tensor([width, height, width, height])
    scores = class_scores(predictions.cls_logits, head.score_function)  # (1, P, C - 1)
    decoded = center_to_corner(head.box_coder.decode(predictions.bbox_pred, head.priors))  # (1, P, 4)
    orig_size, matching = (frame.image.shape[1], frame.image.shape[0]), None
    if boxes is not None or labels is not None:
        boxes, labels = [] if boxes is None else boxes, [] if labels is None else labels
        matching = match(head, predictions, *_relative_boxes(boxes, labels, orig_size, detector.class_names))
    return Explanation(
        name=frame.name,
        image=pixels,
        orig_size=orig_size,
        class_names=detector.class_names,
        prior_box=head.prior_box,
        priors=(center_to_corner(head.priors) * size).cpu(),
        class_scores=_with_background(scores[0], head.score_function).cpu(),
        offsets=predictions.bbox_pred[0].cpu(),
        candidates=find_candidates(head.post_processor, scores, head.post_processor.to_pixels(decoded)),
        matching=matching,
    )


def _relative_boxes(
    boxes: np.ndarray | Sequence[Sequence[float]],
    labels: np.ndarray | Sequence[int | str],
    size: tuple[int, int],
    class_names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return objects as training sees them: boxes (G, 4) float32 relative to the image, labels (G,) int64."""
    known = {name: number for number, name in enumerate(class_names) if number}
    numbers = [known.get(label, 0) if isinstance(label, str) else int(label) for label in labels]
    for label, number in zip(labels, numbers, strict=True):
        if number not in known.values():
            raise ConfigError(f"labels: {label!r} is not a class of the detector; its classes are {', '.join(known)}")
    corners = np.asarray(boxes if len(boxes) else np.empty((0, 4)), dtype=np.float64)
    if corners.shape != (len(numbers), 4):
        raise ConfigError(
            f"boxes and labels must have shapes (G, 4) and (G,) with one G; got {corners.shape} and ({len(numbers)},)"
        )
    return map_boxes(corners, np.array(numbers, dtype=np.int64), GeometricDraw((0, 0, *size), mirror=False))


def _with_background(scores: Tensor, score_function: str) -> Tensor:
    """Put the probability of no class in front of scores (P, C - 1)."""
    background = 1 - scores.sum(dim=1) if score_function == "softmax" else (1 - scores).prod(dim=1)
    return torch.cat([background[:, None], scores], dim=1)


def _find_head(detector: Predictor) -> tuple[TorchNetwork, SSDBoxHead]:
    network = detector.network
    if not isinstance(network, TorchNetwork):
        raise ConfigError(f"{type(network).__name__} returns detections only; explain the checkpoint it was made from")
    head = network.network.box_head
    if not isinstance(head, SSDBoxHead) or not isinstance(head.loss, MultiBoxLoss):
        raise ConfigError(f"MODEL.BOX_HEAD.NAME gives {type(head).__name__}, but only SSDBoxHead can be explained")
    if isinstance(head.post_processor, SoftPostProcessor):
        raise ConfigError("TEST.SOFT_NMS drops no boxes, so there is nothing to explain; set it to 0")
    return network, head


def _read(image: object) -> Frame:
    source = open_source(image)
    if not isinstance(source, SingleImage):
        raise ImageError(f"{image!r} may be several images, but only one can be explained at a time")
    (pending,) = source
    return pending.read()
