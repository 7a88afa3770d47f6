"""Detection over whole datasets, and their evaluation."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssd.engine.gather import gather_predictions
from ssd.engine.validation_loss import ValidationLoss
from ssd.evaluation import EvaluationResult, evaluate
from ssd.structures import Container
from ssd.utils.distributed import is_main
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetEvaluation:
    """What came of one test set.

    Attributes:
        name: of the dataset.
        dataset: the images and annotations.
        predictions: one Container an image, in pixels of the original image.
        result: the figures.
        losses: those of training, "total_loss" first; empty if they were not measured.
    """

    name: str
    dataset: Any
    predictions: list[Container]
    result: EvaluationResult
    losses: dict[str, float] = field(default_factory=dict)


def evaluate_datasets(
    model: nn.Module,
    data_loaders: Mapping[str, DataLoader],
    batch_transform: Callable[[Tensor], Tensor],
    *,
    output_dir: Path,
    metric: str = "auto",
    iteration: int | None = None,
    has_losses: bool = False,
) -> list[DatasetEvaluation]:
    """Detect in every test set, measure, and write predictions and results to ``output_dir``/NAME/.

    Several processes detect in their shares of the images; rank 0 does the rest, and writes what one process writes.

    Args:
        model: put into evaluation mode, and left so.
        data_loaders: the test loader of each dataset by name.
        batch_transform: normalises uint8 images on the device.
        output_dir: gets a folder a dataset.
        metric: TEST.METRIC.
        iteration: completed iterations, when this happens during training; names the result file.
        has_losses: also measure the losses of training.

    Returns:
        One for each test set; none in processes other than rank 0.

    Raises:
        ConfigError: the metric does not exist or does not fit one of the datasets.
    """
    evaluations = []
    for name, loader in data_loaders.items():
        dataset = loader.dataset.dataset  # type: ignore[attr-defined]  # the loader's own wraps the raw one
        logger.info("Evaluating %s (%d images)", name, len(dataset))
        losses = ValidationLoss(model, dataset) if has_losses else None
        own_predictions = detect(model, loader, batch_transform, description=name, losses=losses)
        loss_values = losses.result() if losses else {}
        predictions = gather_predictions(own_predictions)
        if predictions is None:
            continue
        folder = Path(output_dir, name)
        folder.mkdir(parents=True, exist_ok=True)
        save_predictions(predictions, folder / "predictions.pth")
        result = evaluate(dataset, predictions, folder, metric=metric, iteration=iteration)
        logger.info("%s, %s:\n%s", name, result.metric, result.text.rstrip())
        if loss_values:
            text = ", ".join(f"{loss}: {value:.3f}" for loss, value in loss_values.items())
            logger.info("%s, validation losses: %s", name, text)
        evaluations.append(DatasetEvaluation(name, dataset, predictions, result, loss_values))
    return evaluations


@torch.inference_mode()
def detect(
    model: nn.Module,
    data_loader: DataLoader,
    batch_transform: Callable[[Tensor], Tensor],
    *,
    description: str = "",
    losses: ValidationLoss | None = None,
) -> list[Container]:
    """Detect in every image of a test loader.

    Args:
        model: put into evaluation mode, and left so.
        data_loader: see ``make_test_loader``.
        batch_transform: normalises uint8 images on the device.
        description: of the progress bar.
        losses: measures the losses of the same images.

    Returns:
        One Container an image in the loader's order, on the CPU, boxes in pixels of the original image.
    """
    device = next(model.parameters()).device
    model.eval()
    predictions: list[Container] = []
    has_bar = is_main() and sys.stderr.isatty()
    batches = tqdm(data_loader, desc=description, unit="batch", leave=False, disable=not has_bar)
    with losses or nullcontext():
        for images, image_sizes, ids in batches:
            if losses:
                losses.expect(image_sizes, ids)
            detections = model(batch_transform(images.to(device, non_blocking=True)))
            for detection, (height, width) in zip(detections, image_sizes.tolist(), strict=True):
                predictions.append(detection.to("cpu").resize((width, height)))
    return predictions


def save_predictions(predictions: list[Container], path: Path) -> None:
    """Write predictions as plain dictionaries of tensors, which torch.load(weights_only=True) reads."""
    plain = [  # the same names: torch.save writes a string once, and others that are equal once more
        {**{sys.intern(name): _own_memory(prediction[name]) for name in prediction}, "img_width": prediction.img_width}
        | {"img_height": prediction.img_height}
        for prediction in predictions
    ]
    with atomic_write(path) as file:
        torch.save(plain, file)


def _own_memory(values: Tensor) -> Tensor:
    """A copy: torch.save writes the whole memory that a part of a tensor is in."""
    return values.clone(memory_format=torch.contiguous_format)
