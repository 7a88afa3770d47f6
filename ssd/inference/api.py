"""A trained detector in one call, and detection in images that a program holds."""

import os
from collections.abc import Sequence
from typing import Any

import torch

from ssd.config import Config, load_config
from ssd.config.files import is_config
from ssd.data import make_batch_transform
from ssd.inference.predictor import DEFAULT_SCORE_THRESHOLD, Predictor
from ssd.inference.torch_network import TorchNetwork
from ssd.structures.boxes import height_width
from ssd.utils.device import keep_freed_memory, limit_threads, select_device, select_dtype
from ssd.utils.errors import ConfigError
from ssd.weights.loaded_checkpoint import LoadedCheckpoint, trained_class_names
from ssd.weights.trained import build_trained_model, own_config, read_detector, read_trained


def init_detector(
    config: Config | str | os.PathLike[str], checkpoint: str | os.PathLike[str] | None = None, device: str = "auto"
) -> Predictor:
    """Build a trained detector.

    By default it returns objects that score above the thresholds in the checkpoint, which are those of the highest F1
    of each class in the last evaluation of its training, or else above 0.5.

    On a CPU, the process keeps freed memory for its next batch, and PyTorch uses no more threads than there are cores.
    Errors are ConfigError, CheckpointError, DeviceError, DownloadError and MissingPackageError of ``ssd.utils.errors``.

    Args:
        config: YAML file, Config, or a checkpoint (path, URL or name of `ssd models`) that carries its own config or
            belongs to a known foreign project.
        checkpoint: Path, URL or name of the weights. None = ``config``, if that is a checkpoint, otherwise the last one
            of its OUTPUT_DIR.
        device: Replaces MODEL.DEVICE: auto (cuda, else mps, else cpu), cpu, mps, cuda, cuda:1, ...
    """
    torch_device = select_device(device)
    cfg, trained = read_source(config, checkpoint)
    return make_predictor(cfg, trained, trained_class_names(cfg, trained), torch_device)


def read_source(
    config: Config | str | os.PathLike[str], checkpoint: str | os.PathLike[str] | None = None
) -> tuple[Config, LoadedCheckpoint]:
    """Read the config and the checkpoint that ``init_detector`` builds a detector from."""
    if not isinstance(config, Config) and not is_config(os.fspath(config)):
        if checkpoint is not None:
            raise ConfigError(f"config {os.fspath(config)!r} is a checkpoint, and so is {os.fspath(checkpoint)!r}")
        trained = read_detector(os.fspath(config))
        return own_config(trained), trained
    cfg = config if isinstance(config, Config) else load_config(config)
    return cfg, read_trained(cfg, None if checkpoint is None else os.fspath(checkpoint))


def make_predictor(
    cfg: Config, checkpoint: LoadedCheckpoint, class_names: Sequence[str], device: torch.device
) -> Predictor:
    """Build a detector from a config and a checkpoint of ``read_trained``; see ``build_trained_model`` for errors."""
    if device.type == "cpu":
        keep_freed_memory()
        limit_threads()
    model = build_trained_model(cfg, checkpoint, class_names, device)
    dtype = select_dtype(cfg.TEST.AMP, device, "TEST.AMP", model)
    return Predictor(
        TorchNetwork(model, make_batch_transform(cfg, is_train=False), dtype, cfg.TEST.COMPILE),
        height_width(cfg.INPUT.IMAGE_SIZE),
        class_names,
        score_threshold=checkpoint.score_thresholds or DEFAULT_SCORE_THRESHOLD,
        nms_threshold=cfg.TEST.NMS_THRESHOLD,
    )


def inference_detector(detector: Predictor, images: Any) -> Any:
    """Return ``detector(images)``: Detections of an image, or a list of a list of images; mmdetection's name."""
    return detector(images)
