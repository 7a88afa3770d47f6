"""A trained model from a checkpoint."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ssd.config import Config
from ssd.engine.precision import in_precision, select_dtype
from ssd.engine.setup import with_num_classes
from ssd.modeling.detector import build_detection_model
from ssd.utils.checkpoint import Checkpointer, load_model_weights, read_checkpoint
from ssd.utils.errors import CheckpointError

logger = logging.getLogger(__name__)


def read_trained(cfg: Config, checkpoint: str | None) -> dict[str, Any]:
    """Read a checkpoint; there must be one, since random weights would only look like a result.

    Args:
        cfg: reads OUTPUT_DIR.
        checkpoint: path or URL; None = the last one of OUTPUT_DIR.

    Returns:
        The checkpoint, with ``source``, where it was read from.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    source = checkpoint or Checkpointer(nn.Identity(), save_dir=cfg.OUTPUT_DIR).last_checkpoint()
    if source is None:
        raise CheckpointError(
            f"no checkpoint: OUTPUT_DIR {cfg.OUTPUT_DIR!r} has no last_checkpoint.txt. Train first, or name a file or "
            "URL with --ckpt"
        )
    return {**read_checkpoint(source), "source": str(source)}


def build_trained_model(
    cfg: Config, checkpoint: dict[str, Any], class_names: Sequence[str], device: torch.device
) -> nn.Module:
    """Build the model of a config in evaluation mode, with the weights of a checkpoint of ``read_trained``.

    It computes in the format of TEST.AMP.

    Raises:
        ConfigError: MODEL.NUM_CLASSES is not the number of ``class_names``, or the device lacks that format.
        CheckpointError: the weights do not fit.
    """
    dtype = select_dtype(cfg.TEST.AMP, device, "TEST.AMP")
    model = build_detection_model(with_num_classes(cfg, class_names), pretrained=False)
    load_model_weights(model, checkpoint["model"], checkpoint["source"])
    logger.info("Loaded weights from %s", checkpoint["source"])
    model = model.to(device).to(memory_format=torch.channels_last)  # faster, on CPU and GPU
    return in_precision(model, device.type, dtype).eval()
