"""What is exported: a trained detector, and what its files say of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssd.config import Config
from ssd.data import make_batch_transform
from ssd.data.transforms import BatchTransform
from ssd.deploy.metadata import Metadata, fitted, make_metadata
from ssd.weights.loaded_checkpoint import trained_class_names
from ssd.weights.trained import build_trained_model, read_with_config

_AS_EXPORTED = ["MODEL.DEVICE", "cpu", "TEST.AMP", "off"]


@dataclass(frozen=True)
class Trained:
    """What is exported.

    Attributes:
        model: in evaluation mode, on the CPU, in float32.
        batch_transform: normalises uint8 images for it.
        metadata: what goes into the side-car.
    """

    model: nn.Module
    batch_transform: BatchTransform
    metadata: Metadata


def load_trained(
    config_file: str | None, checkpoint: str | None, overrides: Sequence[str], *, complete: bool
) -> tuple[Config, Trained]:
    """Build a trained detector for export.

    Args:
        config_file: None = the config that the checkpoint carries.
        checkpoint: path or URL; None = the last one of OUTPUT_DIR. One of the two must be given.
        overrides: ``[KEY, VALUE, ...]``.
        complete: whether it is exported with resizing, normalisation and NMS.

    Raises:
        ConfigError: the config is missing or wrong, or the classes are not known.
        CheckpointError: the checkpoint is missing or damaged, carries no config, or does not fit.
        DownloadError, MissingPackageError: see ``read_trained``.
    """
    cfg, trained = read_with_config(config_file, checkpoint, overrides)
    cfg = cfg.with_overrides(_AS_EXPORTED)
    class_names = trained_class_names(cfg, trained)
    model = build_trained_model(cfg, trained, class_names, torch.device("cpu"))
    metadata = fitted(make_metadata(cfg, model, class_names), complete)
    return cfg, Trained(model, make_batch_transform(cfg, is_train=False), metadata)
