"""Conversion of checkpoints: a foreign one to ours with its config, and ours to lufficc/SSD."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.config.node import with_num_classes
from ssd.modeling.detector import SSDDetector
from ssd.modeling.layers import BatchNorm2d
from ssd.structures.boxes import height_width
from ssd.utils.checkpoint_file import write_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError, OutputError, join_some, os_errors_as
from ssd.utils.files import write_text
from ssd.utils.image import image_names, read_image
from ssd.weights.foreign import levels_of
from ssd.weights.formats import lufficc
from ssd.weights.loaded_checkpoint import LoadedCheckpoint, trained_class_names
from ssd.weights.trained import build_trained_model, own_config, read_detector

_BATCH_SIZE = 8  # of the images that give statistics
_HEADER = "# The network of "  # first words of a config that is written here


def prepare_output(output: Path, source: str, *, has_config: bool) -> None:
    """Make the folder of ``output``, and check that it may be written, with a config next to it if ``has_config``."""
    if output.suffix != ".pth":
        raise ConfigError(f"--output {output} must end in .pth")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise ConfigError(f"--output {output} is the file to convert; name another one")
    with os_errors_as(OutputError, output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
    config = output.with_suffix(".yaml")
    if has_config and config.exists() and not config.read_bytes().startswith(_HEADER.encode()):
        raise OutputError(
            f"{config} exists, and `ssd convert` did not write it: its own config would overwrite it. Name another "
            "--output"
        )


def convert_to_ours(
    source: str, output: Path, format: str = "auto", classes: Sequence[str] = (), images: Path | None = None
) -> str:
    """Convert a checkpoint, write it and, next to it, the config of its network, and return a summary.

    ``classes`` are its names without background, see ``trained_class_names``; ``images`` is a folder of images that
    give folded batch norms their statistics.
    """
    checkpoint = read_detector(source, format)
    if checkpoint.origin is None and checkpoint.config is None:
        checkpoint = read_detector(source, "lufficc")
    cfg = own_config(checkpoint)
    class_names = trained_class_names(cfg, checkpoint, classes)
    cfg = cfg.with_overrides(
        [
            *("MODEL.WEIGHTS", str(output), "MODEL.WEIGHTS_CLASSES", class_names[1:]),
            *("MODEL.NUM_CLASSES", 0, "OUTPUT_DIR", str(Path("outputs") / output.stem)),  # 0: to train on other classes
        ]
    )
    model = build_trained_model(cfg, checkpoint, class_names, torch.device("cpu"))  # raises if it does not fit
    norms_note = _with_norms(model, cfg, source, images)
    origin = checkpoint.origin.title if checkpoint.origin else "this library"
    text = f"{_HEADER}{source} ({origin}), for {output.name}\n{cfg.dump()}"
    content = {"model": model.state_dict(), "class_names": list(class_names), "config": text, "converted_from": origin}
    with os_errors_as(OutputError, output):
        write_checkpoint(output, content)
        write_text(output.with_suffix(".yaml"), text)
    sample = join_some(class_names[1:], 3)
    notes = "".join(
        f"\nNote: {note}" for note in [*(checkpoint.origin.notes if checkpoint.origin else ()), *norms_note]
    )
    return (
        f"{source}: {origin}\n{len(checkpoint.weights)} tensors, {len(class_names) - 1} classes ({sample}), "
        f"{len(model.box_head.priors)} priors, backbone {cfg.MODEL.BACKBONE.NAME}, input {cfg.INPUT.IMAGE_SIZE}{notes}"
    )


def _with_norms(model: SSDDetector, cfg: Config, source: str, images: Path | None) -> list[str]:
    """Give folded batch norms the statistics of ``images``, and return a sentence for the user."""
    count = len(folded_norms(model))
    if images is None:
        remedy = "training keeps their statistics. --images FOLDER estimates these on images, for training with batches"
        return [f"{count} batch norms are folded into their convolutions: {remedy}"] if count else []
    if not count:
        raise ConfigError(f"--images {images} is not needed: no batch norm of {source} is folded into its convolution")
    estimate_norms(model, cfg, images)
    return [f"{count} batch norms were folded into their convolutions; their statistics are those of {images}"]


def folded_norms(model: nn.Module) -> list[BatchNorm2d]:
    """Return the batch norms of a model that are folded into their convolutions."""
    return [layer for layer in model.modules() if isinstance(layer, BatchNorm2d) and layer.is_folded]


@torch.no_grad()
def estimate_norms(model: SSDDetector, cfg: Config, folder: Path) -> None:
    """Set the statistics of folded norms to those of images, and weights and biases so that outputs are the same."""
    norms = folded_norms(model)
    # Number, sum and sum of squares; in float64, since their difference is the variance.
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def add(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].flatten(2)  # (B, C, H * W)
        sums[layer][0] += len(values) * values.shape[2]
        sums[layer][1] += values.sum((0, 2), dtype=torch.float64)
        sums[layer][2] += values.square().sum((0, 2), dtype=torch.float64)

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        for images in _read_batches(cfg, folder):
            model.predict(images)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0).float()
        norm.bias.add_(norm.weight * mean.float())
        norm.weight.mul_((variance + norm.eps).sqrt())
        norm.running_mean, norm.running_var = mean.float(), variance


def _read_batches(cfg: Config, folder: Path) -> Iterator[Tensor]:
    """Yield normalised images (B, 3, H, W) of a folder, at the size of the network."""
    names, (height, width) = image_names(folder), height_width(cfg.INPUT.IMAGE_SIZE)
    mean, std = (torch.tensor(values).float()[:, None, None] for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    for start in range(0, len(names), _BATCH_SIZE):
        images = [read_image(folder / name) for name in names[start : start + _BATCH_SIZE]]
        pixels = np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images])
        yield (torch.from_numpy(pixels).permute(0, 3, 1, 2) - mean) / std


def convert_to_lufficc(checkpoint: LoadedCheckpoint, cfg: Config, output: Path) -> list[str]:
    """Write a checkpoint for lufficc/SSD, and return sentences on the settings that it needs there."""
    class_names = trained_class_names(cfg, checkpoint)
    build_trained_model(cfg, checkpoint, class_names, torch.device("cpu"))  # raises if it does not fit
    try:
        lufficc.find_config(checkpoint.weights)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.source} cannot be written for {lufficc.TITLE}: {error}") from error
    with os_errors_as(OutputError, output):
        write_checkpoint(output, {"model": dict(checkpoint.weights)})
    return lufficc.differences(with_num_classes(cfg, class_names), levels_of(cfg))
