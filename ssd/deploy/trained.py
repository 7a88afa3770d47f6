"""A trained detector to export, and the ways in which PyTorch runs it, for comparison with the exported files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ssd.config import Config
from ssd.deploy.metadata import Metadata, make_metadata
from ssd.deploy.runtimes import OpenVinoNetwork, exported_networks
from ssd.inference.predictor import Network
from ssd.inference.torch_network import TorchNetwork
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container
from ssd.utils.device import has_bf16_arithmetic
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from ssd.weights.trained import build_trained_model


@dataclass(frozen=True)
class Trained:
    """A detector in evaluation mode, on the CPU and in float32, with its description."""

    model: SSDDetector
    metadata: Metadata


def load_trained(cfg: Config, checkpoint: LoadedCheckpoint, class_names: Sequence[str]) -> Trained:
    """Build a trained detector for export; see ``build_trained_model`` for errors."""
    model = build_trained_model(cfg, checkpoint, class_names, torch.device("cpu"))
    return Trained(model, make_metadata(cfg, model, class_names, checkpoint.score_thresholds))


class PlainNetwork:
    """The model as it was trained: the reference of all comparisons."""

    def __init__(self, trained: Trained):
        self._model = trained.model
        self._batch_transform = trained.metadata.batch_transform

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in a batch, see ``TorchNetwork``."""
        return self._model.box_head.detect(self._model.predict(self._batch_transform(images)))


def make_candidates(trained: Trained, paths: Sequence[Path]) -> Mapping[str, Callable[[int], Network]]:
    """Return, by name, functions of a number of threads that load the networks to time; the first is the reference.

    Those in bf16 are left out where the CPU would emulate it.
    """
    model, transform = trained.model, trained.metadata.batch_transform
    candidates: dict[str, Callable[[int], Network]] = {
        "PyTorch, as trained": lambda _: PlainNetwork(trained),
        "PyTorch, batch norms folded": lambda _: TorchNetwork(model, transform),
    }
    for path in paths:
        candidates |= exported_networks(path)
    if has_bf16_arithmetic():
        candidates["PyTorch, folded, bf16"] = lambda _: TorchNetwork(model, transform, torch.bfloat16)
        if paths[0].suffix == ".onnx":
            in_bf16 = partial(OpenVinoNetwork, paths[0], precision="bf16")
            candidates[f"{paths[0].name} in OpenVINO, bf16"] = lambda num_threads: in_bf16(num_threads=num_threads)
    return candidates
