"""The predictions of several processes, brought together."""

import torch
from torch import Tensor

from ssd.structures import Container
from ssd.utils.distributed import gather_tensors, is_distributed

_COUNTS = "counts"  # detections of each image, and its width and height


def gather_predictions(predictions: list[Container]) -> list[Container] | None:
    """Bring the predictions of all processes to rank 0.

    Args:
        predictions: one Container an image of this process's share, on the CPU; may be empty. The fields have one row
            a detection.

    Returns:
        Those of rank 0, then those of rank 1, and so on; None in the other processes.
    """
    if not is_distributed():
        return predictions
    parts = gather_tensors(pack(predictions))
    return None if parts is None else [prediction for part in parts for prediction in unpack(part)]


def pack(predictions: list[Container]) -> dict[str, Tensor]:
    """Join the predictions of N images with D detections in all: each field (D, ...), and ``counts`` (N, 3)."""
    counts = [(len(image["labels"]), image.img_width, image.img_height) for image in predictions]
    names = list(predictions[0]) if predictions else []
    columns = {name: torch.cat([image[name] for image in predictions]) for name in names}
    return {_COUNTS: torch.tensor(counts, dtype=torch.int64).view(-1, 3), **columns}


def unpack(columns: dict[str, Tensor]) -> list[Container]:
    """Undo ``pack``."""
    lengths, widths, heights = columns[_COUNTS].unbind(dim=1)
    fields = {name: values.split(lengths.tolist()) for name, values in columns.items() if name != _COUNTS}
    predictions = []
    for index, size in enumerate(zip(widths.tolist(), heights.tolist(), strict=True)):
        image = Container(**{name: values[index] for name, values in fields.items()})
        image.img_width, image.img_height = size
        predictions.append(image)
    return predictions
