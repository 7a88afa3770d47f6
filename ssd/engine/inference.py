"""The evaluation loop: detection in whole datasets, validation losses and metrics."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssd.engine.prefetch import Batch, one_behind, prefetch
from ssd.evaluation import EvaluationDataset, EvaluationResult, evaluate
from ssd.evaluation.inputs import read_annotation
from ssd.modeling.box_head import LossSums, Predictions
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container
from ssd.utils.distributed import gather, is_distributed, is_main
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)

_NUM_POS = "num_pos"  # column of the number of positives


@dataclass(frozen=True)
class DatasetEvaluation:
    """Evaluation of one test set."""

    name: str  # of the dataset
    dataset: Any  # images and annotations
    predictions: list[Container]  # one Container for each image, in pixels of the original image
    result: EvaluationResult
    # validation losses, "total_loss" first; empty if they were not measured
    losses: dict[str, float] = field(default_factory=dict)


def evaluate_datasets(
    detector: SSDDetector,
    data_loaders: Mapping[str, DataLoader],
    batch_transform: Callable[[Tensor], Tensor],
    *,
    output_dir: Path,
    dtype: torch.dtype = torch.float32,
    metric: str = "auto",
    iteration: int | None = None,
    with_losses: bool = False,
) -> list[DatasetEvaluation]:
    """Detect in every test set, measure, and write predictions and results to ``output_dir``/NAME/.

    Several processes detect in their shares of the images; rank 0 gathers the predictions and measures, and the others
    return nothing. ``dtype`` is the number format of the network under autocast; ``iteration`` of a training names the
    result file; ``with_losses`` measures the losses of training too.
    """
    evaluations = []
    for name, loader in data_loaders.items():
        dataset = loader.dataset.dataset  # type: ignore[attr-defined]  # the loader's dataset wraps the original
        logger.info("Evaluating %s (%d images)", name, len(dataset))
        loss_dataset = dataset if with_losses else None
        own_predictions, batches = detect(
            detector, loader, batch_transform, dtype=dtype, description=name, loss_dataset=loss_dataset
        )
        losses = mean_losses(batches)
        predictions = gather_predictions(own_predictions)
        if predictions is None:
            continue
        folder = Path(output_dir, name)
        folder.mkdir(parents=True, exist_ok=True)
        save_predictions(predictions, folder / "predictions.pth")
        result = evaluate(dataset, predictions, folder, metric=metric, iteration=iteration)
        logger.info("%s, %s:\n%s", name, result.metric, result.text.rstrip())
        if losses:
            text = ", ".join(f"{loss}: {value:.3f}" for loss, value in losses.items())
            logger.info("%s, validation losses: %s", name, text)
        evaluations.append(DatasetEvaluation(name, dataset, predictions, result, losses))
    return evaluations


@torch.inference_mode()
def detect(
    detector: SSDDetector,
    data_loader: DataLoader,
    batch_transform: Callable[[Tensor], Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    description: str = "",
    loss_dataset: EvaluationDataset | None = None,
) -> tuple[list[Container], list[LossSums]]:
    """Detect in every image of a test loader, on the device of the detector, which is set to evaluation mode.

    Return a Container for each image in the loader's order, on the CPU, boxes in pixels of the original image; and the
    losses of each batch, where ``loss_dataset`` has the annotations of the same images.
    """
    device = next(detector.parameters()).device
    detector.eval()
    predictions: list[Container] = []
    losses: list[LossSums] = []
    has_bar = is_main() and sys.stderr.isatty()
    bar = tqdm(data_loader, desc=description, unit="batch", leave=False, disable=not has_bar)

    def predict() -> Iterator[tuple[Predictions, Tensor]]:
        for images, targets, image_sizes in prefetch(_with_targets(bar, loss_dataset), device):
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                outputs = detector.predict(batch_transform(images))
            if loss_dataset is not None:
                losses.append(detector.box_head.losses(outputs, targets))
            yield outputs, image_sizes

    for outputs, image_sizes in one_behind(predict(), device):
        found = detector.box_head.detect(outputs)
        for detections, (height, width) in zip(found, image_sizes.tolist(), strict=True):
            predictions.append(detections.to("cpu").resize((width, height)))
    return predictions, losses


def _with_targets(
    batches: Iterable[tuple[Tensor, Tensor, Tensor]], dataset: EvaluationDataset | None
) -> Iterator[Batch]:
    """Turn batches (images, image_sizes, ids) into images, their objects in ``dataset`` (None = none) and sizes."""
    for images, image_sizes, ids in batches:
        targets = Container() if dataset is None else make_targets(dataset, image_sizes.tolist(), ids.tolist())
        yield images, targets, image_sizes


def make_targets(dataset: EvaluationDataset, image_sizes: list[list[int]], ids: list[int]) -> Container:
    """Return the objects of images as training targets, without those that are marked difficult.

    ``image_sizes`` are (height, width) in pixels. Boxes are float32 (B, G, 4) corner form relative to the image, labels
    int64 (B, G), both padded with 0.
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


def mean_losses(batches: list[LossSums]) -> dict[str, float]:
    """Return the losses of all batches of all processes as one, "total_loss" (their sum) first.

    All processes must call this; the result is empty in those other than rank 0, and where nothing was measured.
    """
    columns: dict[str, Tensor] = {}
    if batches:
        columns = {name: torch.stack([batch.sums[name] for batch in batches]) for name in batches[0].sums}
        columns[_NUM_POS] = torch.stack([batch.num_pos.sum() for batch in batches])
    parts = gather({name: values.double().cpu() for name, values in columns.items()})
    parts = [part for part in parts or [] if part]
    if not parts:
        return {}
    totals = {name: float(torch.cat([part[name] for part in parts]).sum()) for name in parts[0]}
    num_pos = totals.pop(_NUM_POS)
    losses = {name: total / num_pos for name, total in totals.items()}
    return {"total_loss": sum(losses.values()), **losses}


def save_predictions(predictions: list[Container], path: Path) -> None:
    """Write predictions as plain dictionaries of tensors, which torch.load(weights_only=True) reads."""
    # Copies: torch.save writes the whole memory that a part of a tensor is in. Interned: it writes an object once.
    plain = [
        {sys.intern(name): image[name].clone(memory_format=torch.contiguous_format) for name in image}
        | {"img_width": image.img_width, "img_height": image.img_height}
        for image in predictions
    ]
    with atomic_write(path) as file:
        torch.save(plain, file)


def gather_predictions(predictions: list[Container]) -> list[Container] | None:
    """Return the predictions of all processes, by rank, in rank 0; None in the others."""
    if not is_distributed():
        return predictions
    # As arrays: of a part of a tensor, pickle writes the whole memory that it is in.
    parts = gather([image.numpy() for image in predictions])
    return None if parts is None else [_to_tensors(image) for part in parts for image in part]


def _to_tensors(image: Container) -> Container:
    found = Container(**{name: torch.from_numpy(image[name]) for name in image})
    found.img_width, found.img_height = image.img_width, image.img_height
    return found
