"""What reproduces a step that is not finite: its batch, as a file and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssd.data.replay import ReplayedBatch
from ssd.engine.finite import BadStep

_MAX_IMAGES, _MAX_BOXES = 128, 10  # in words; the file has all


def make_reproducer(bad: BadStep, batch: ReplayedBatch, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what nonfinite_XXXXXX.pth holds: tensors and plain containers.

    Args:
        bad: the step; gives "iteration" (from 1), "losses" and "gradient_norm".
        batch: of all processes; gives "images" (uint8, before the colour distortion, which is a function of "seed" and
            the iteration), "targets" (a dictionary of tensors), "datasets", "image_ids" and "seed".
        extra: what checkpoints carry besides: "class_names", "config", "world_size", ...
    """
    return {
        **extra,
        "iteration": bad.iteration,
        "losses": bad.losses,
        "gradient_norm": bad.gradient_norm,
        "images": batch.images,
        "targets": {name: batch.targets[name] for name in batch.targets},
        "datasets": batch.datasets,
        "image_ids": batch.image_ids,
        "seed": batch.seed,
    }


def describe_batch(batch: ReplayedBatch, class_names: Sequence[str]) -> str:
    """Name the images of a batch, a line each, with their boxes as augmented: corner form in pixels of the input."""
    height, width = batch.images.shape[2:]
    scale = batch.targets["boxes"].new_tensor([width, height, width, height])
    lines = []
    for row in range(min(len(batch.images), _MAX_IMAGES)):
        labels = batch.targets["labels"][row]
        boxes = (batch.targets["boxes"][row] * scale)[labels > 0].tolist()
        names = [class_names[label] for label in labels[labels > 0].tolist()]
        lines.append(f"  {batch.datasets[row]} {batch.image_ids[row]}: {_describe_boxes(names, boxes)}")
    if len(batch.images) > _MAX_IMAGES:
        lines.append(f"  and {len(batch.images) - _MAX_IMAGES} more")
    return "\n".join(lines)


def _describe_boxes(names: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    texts = [
        f"{name} ({', '.join(f'{value:.1f}' for value in box)})"
        for name, box in zip(names[:_MAX_BOXES], boxes[:_MAX_BOXES], strict=True)
    ]
    if len(names) > _MAX_BOXES:
        texts.append(f"and {len(names) - _MAX_BOXES} more")
    return ", ".join(texts) or "no boxes"
