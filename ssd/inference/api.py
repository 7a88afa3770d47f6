"""From a config and a checkpoint to a detector, in one call; and detection in images that a program holds."""

import os
from collections.abc import Sequence
from typing import Any

import torch

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.inference.sources import open_source
from ssd.inference.sources.images import SingleImage, TensorBatch
from ssd.inference.torch_network import TorchNetwork
from ssd.structures.size import height_width
from ssd.utils.cores import limit_threads
from ssd.utils.device import keep_freed_memory, select_device, select_dtype
from ssd.utils.errors import ConfigError, ImageError
from ssd.weights.foreign import read_detector
from ssd.weights.trained import build_trained_model, own_config, read_trained, trained_class_names


def init_detector(
    config: Config | str | os.PathLike[str], checkpoint: str | os.PathLike[str] | None = None, device: str = "auto"
) -> Predictor:
    """Build a trained detector.

    On a CPU, this process then keeps the memory that it frees for its next batch, and PyTorch computes in no more
    threads than the process has cores.

    Args:
        config: a YAML file, a Config, or a checkpoint (path or URL that ends in .pth, .pt, .pth.tar or .safetensors)
            that carries its own config, as those of this library do, or is of another project that is known.
        checkpoint: path or URL of the weights. None = those of ``config``, if that is a checkpoint, else the last ones
            of its OUTPUT_DIR.
        device: takes the place of MODEL.DEVICE: auto (cuda, else mps, else cpu), cpu, mps, cuda, cuda:1, ...

    Raises:
        ConfigError: the config is missing or wrong; or the classes of the checkpoint are not known, or not as many as
            MODEL.NUM_CLASSES.
        CheckpointError: the checkpoint is missing or damaged, carries no config, or does not fit.
        DeviceError: there is no such device.
        DownloadError: a URL cannot be fetched.
        MissingPackageError: the checkpoint is a safetensors file, and that package is not installed.
    """
    torch_device = select_device(device)
    if not isinstance(config, Config) and _is_checkpoint(config):
        if checkpoint is not None:
            raise ConfigError(f"config {os.fspath(config)!r} is a checkpoint, and so is {os.fspath(checkpoint)!r}")
        trained = read_detector(os.fspath(config))
        cfg = own_config(trained)
    else:
        cfg = config if isinstance(config, Config) else load_config(config)
        trained = read_trained(cfg, None if checkpoint is None else os.fspath(checkpoint))
    return make_predictor(cfg, trained, trained_class_names(cfg, trained), torch_device)


def make_predictor(
    cfg: Config, checkpoint: dict[str, Any], class_names: Sequence[str], device: torch.device
) -> Predictor:
    """Build a detector from a config and a checkpoint of ``read_trained``.

    Raises:
        ConfigError: see ``build_trained_model``.
        CheckpointError: likewise.
    """
    if device.type == "cpu":
        keep_freed_memory()
        limit_threads()
    model = build_trained_model(cfg, checkpoint, class_names, device)
    dtype = select_dtype(cfg.TEST.AMP, device, "TEST.AMP", model)
    return Predictor(
        TorchNetwork(model, make_batch_transform(cfg, is_train=False), dtype),
        height_width(cfg.INPUT.IMAGE_SIZE),
        class_names,
        score_threshold=cfg.TEST.CONFIDENCE_THRESHOLD,
        nms_threshold=cfg.TEST.NMS_THRESHOLD,
    )


def inference_detector(detector: Predictor, images: object) -> Detections | list[Detections]:
    """Detect in images that a program holds or names.

    Args:
        detector: see ``init_detector``.
        images: one image (path, URL, PIL image, RGB array, tensor (3, H, W), content of a file), or a list of them or
            a tensor (B, 3, H, W).

    Returns:
        The detections of one image; of a list or batch, a list.

    Raises:
        ImageError: an image cannot be read; or it is a folder, a video or the like, which ``Predictor.predict`` takes.
    """
    source = open_source(images)
    if isinstance(source, SingleImage):
        (found,) = detector.predict(source)
        return found
    if isinstance(images, (list, tuple)) or isinstance(source, TensorBatch):
        return detector.predict(source)
    raise ImageError(
        f"{images!r} may be many images; use detector.predict(...), or with stream=True for one result after the other"
    )


def _is_checkpoint(name: str | os.PathLike[str]) -> bool:
    return os.fspath(name).partition("?")[0].lower().endswith((".pth", ".pth.tar", ".pt", ".safetensors"))
