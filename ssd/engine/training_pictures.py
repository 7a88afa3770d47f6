"""Pictures of a training: its first batch, and its evaluations for TensorBoard."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import analyse
from ssd.evaluation.inputs import read_annotation
from ssd.evaluation.matching import pick_confused
from ssd.modeling.box_head import SSDBoxHead
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner
from ssd.visualization import draw_detections
from ssd.visualization.drawing import mosaic
from ssd.visualization.palette import class_color

if TYPE_CHECKING:
    from ssd.engine.trainer import Training  # which shows these pictures

_MAX_IMAGES, _COLUMNS = 16, 4  # of the first batch
_TILE = 400  # least pixels of the longer side of an image
_BRIGHT = 150  # grey level above which priors are black, below it white
_NUM_EVALUATED = 4  # images of an evaluation
_THRESHOLD = 0.5  # least score of the drawn detections
_GRID = np.linspace(0, 1, 101)


def show_first_batch(training: "Training", mean: Sequence[float], std: Sequence[float]) -> "Training":
    """Draw the first batch to first_batch.jpg and TensorBoard, and return the training with all its batches."""
    batches = iter(training.data_loader)
    first = next(batches)
    box_head = training.detector.box_head
    images, targets = first[0].to(box_head.priors.device), first[1].to(box_head.priors.device)
    pixels = to_pixels(training.batch_transform(images, targets, 0), mean, std)
    class_names = training.checkpointer.extra["class_names"]
    training.monitor.show_first_batch(
        draw_first_batch(pixels, targets, positive_priors(box_head, targets), class_names)
    )
    return replace(training, data_loader=chain([first], batches))


def to_pixels(inputs: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Undo the normalisation of inputs (B, 3, H, W): RGB uint8 (B, H, W, 3)."""
    mean_, std_ = (torch.tensor(list(values), dtype=torch.float32) for values in (mean, std))
    pixels = inputs.detach().float().cpu().permute(0, 2, 3, 1) * std_ + mean_
    return pixels.round().clamp(0, 255).to(torch.uint8).numpy()


@torch.no_grad()
def positive_priors(box_head: SSDBoxHead, targets: Container) -> list[np.ndarray]:
    """Return the priors (N, 4) in corner form that are matched to objects, for each image."""
    labels = box_head.matcher(targets, box_head.priors).labels
    priors = center_to_corner(box_head.priors)
    return [priors[row > 0].cpu().numpy() for row in labels]


def draw_first_batch(
    images: np.ndarray, targets: Container, priors: Sequence[np.ndarray], class_names: Sequence[str]
) -> np.ndarray:
    """Draw 16 images (B, H, W, 3) at most with their objects and, in thin lines, their matched priors (N, 4)."""
    boxes, labels = targets["boxes"].cpu().numpy(), targets["labels"].cpu().numpy()
    tiles, captions = [], []
    for row, image in enumerate(images[:_MAX_IMAGES]):
        is_object = labels[row] > 0
        counts = {"object": int(is_object.sum()), "prior": len(priors[row])}
        tiles.append(_draw_tile(image, boxes[row, is_object], labels[row, is_object], priors[row], class_names))
        captions.append(", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()))
    return mosaic(tiles, _COLUMNS, captions)


def draw_evaluation(evaluation: DatasetEvaluation) -> dict[str, np.ndarray]:
    """Draw images of an evaluation, "0" to "3", with their objects on the left and their detections on the right."""
    dataset, count = evaluation.dataset, len(evaluation.dataset)
    chosen = sorted({number * count // _NUM_EVALUATED for number in range(_NUM_EVALUATED) if count})
    pictures = {}
    for number, index in enumerate(chosen):
        image, names = dataset[index][0], dataset.class_names
        annotation = read_annotation(dataset, index)
        found = evaluation.predictions[index].numpy()
        shown = found["scores"] > _THRESHOLD
        boxes, labels, scores = (found[name][shown] for name in ("boxes", "labels", "scores"))
        pair = [
            draw_detections(image, annotation.boxes, annotation.labels, None, names),
            draw_detections(image, boxes, labels, scores, names),
        ]
        captions = [f"annotated: {len(annotation.labels)}", f"detected above {_THRESHOLD}: {len(labels)}"]
        pictures[str(number)] = mosaic(pair, 2, captions)
    return pictures


def draw_analysis(evaluation: DatasetEvaluation, max_detections: int = 300_000) -> dict[str, np.ndarray]:
    """Plot precision over recall, F1 over the threshold, and the confusion matrix: RGB uint8 (H, W, 3) by name."""
    if sum(len(image["labels"]) for image in evaluation.predictions) > max_detections:  # take 3 seconds of one core
        return {}
    # matplotlib is slow to import
    from ssd.visualization.plots import MAX_CONFUSED, MAX_LINES, pick_classes, plot_confusion, plot_lines
    from ssd.visualization.theme import figure_to_rgb

    analysis = analyse(evaluation.dataset, evaluation.predictions, metric=evaluation.result.metric)
    names = analysis.tables.class_names
    chosen = pick_classes(analysis.ap, MAX_LINES)
    colors = {names[label]: class_color(label) for label in chosen}
    lines = {names[label]: analysis.curves[label] for label in chosen}
    lines = {name: curve for name, curve in lines.items() if len(curve.scores)}
    precision = {name: (_GRID, curve.sample_precision(_GRID)) for name, curve in lines.items()}
    f1 = {name: (_GRID, curve.sample_f1(_GRID)) for name, curve in lines.items()}
    shown = [*pick_confused(analysis.confusion, MAX_CONFUSED), 0]
    matrix, classes = analysis.confusion[np.ix_(shown, shown)], [names[label] for label in shown[:-1]]
    figures = {
        "precision": plot_lines(precision, ("recall", "precision"), colors=colors),
        "f1": plot_lines(f1, ("score threshold", "F1"), colors=colors, marked_x=analysis.threshold),
        "confusion": plot_confusion(matrix, [*classes, "nothing there"], [*classes, "missed"]),
    }
    return {name: figure_to_rgb(figure) for name, figure in figures.items()}


def _draw_tile(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, priors: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw an image, enlarged if it is small; boxes and priors are in corner form relative to it."""
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
