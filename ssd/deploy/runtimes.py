"""The ways to run one detector: as a PyTorch model, made quick, compiled, or as an exported file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssd.data.transforms import BatchTransform
from ssd.deploy.graph import RawDetector
from ssd.deploy.latency import Candidate
from ssd.deploy.metadata import Metadata
from ssd.deploy.onnx_detector import OnnxNetwork
from ssd.deploy.openvino_detector import OpenVinoNetwork
from ssd.deploy.program_network import ProgramNetwork
from ssd.inference.predictor import Network, Predictor
from ssd.inference.torch_network import TorchNetwork, fold_batch_norms
from ssd.modeling.box_head import Predictions
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container
from ssd.utils.device import has_bf16_arithmetic
from ssd.utils.errors import DeviceError


class PlainNetwork:
    """A model as it was trained, without anything that makes it quicker: what the others are compared with.

    Args:
        model: a detector in evaluation mode, on the CPU.
        batch_transform: normalises uint8 images.
    """

    def __init__(self, model: SSDDetector, batch_transform: BatchTransform):
        self._model = model
        self._batch_transform = batch_transform

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in a batch, see ``TorchNetwork``."""
        return self._model(self._batch_transform(images))


class CompiledNetwork:
    """A model whose backbone and predictor are compiled, with batch norms folded; see ``PlainNetwork``."""

    def __init__(self, model: SSDDetector, batch_transform: BatchTransform):
        folded = fold_batch_norms(model).to(memory_format=torch.channels_last)
        self._network = torch.compile(RawDetector(folded))
        self._head: Any = folded.box_head
        self._batch_transform = batch_transform

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in a batch, see ``TorchNetwork``."""
        return self._head.detect(Predictions(*self._network(self._batch_transform(images))))


def as_predictor(network: Network, metadata: Metadata) -> Predictor:
    """Return what detects in images of any size by a network that drops low scores itself."""
    return Predictor(network, metadata.image_size, metadata.class_names, nms_threshold=metadata.nms_threshold)


def exported_networks(path: Path, metadata: Metadata) -> dict[str, Callable[[int | None], Network]]:
    """Return what runs an exported file: by name, a function of the number of threads (None = PyTorch's)."""
    if path.suffix == ".pt2":
        return {path.name: lambda _: ProgramNetwork(path, metadata)}
    return {
        f"{path.name} in ONNX Runtime": lambda num_threads: OnnxNetwork(path, num_threads=num_threads),
        f"{path.name} in OpenVINO": lambda num_threads: OpenVinoNetwork(path, num_threads=num_threads),
    }


def make_candidates(
    model: SSDDetector, batch_transform: BatchTransform, metadata: Metadata, paths: Sequence[Path]
) -> list[Candidate]:
    """Build what is timed: the model in four ways, then the exported files."""
    candidates = [
        Candidate("PyTorch, as trained", lambda _: PlainNetwork(model, batch_transform)),
        Candidate("PyTorch, batch norms folded", lambda _: TorchNetwork(model, batch_transform)),
        Candidate("PyTorch, folded, bf16", lambda _: _bf16_network(model, batch_transform)),
        Candidate("PyTorch, folded, torch.compile", lambda _: CompiledNetwork(model, batch_transform)),
    ]
    for path in paths:
        candidates += [Candidate(name, make) for name, make in exported_networks(path, metadata).items()]
    if paths[0].suffix == ".onnx":
        candidates.append(Candidate(f"{paths[0].name} in OpenVINO, bf16", partial(_bf16_openvino, paths[0])))
    return candidates


def _bf16_network(model: SSDDetector, batch_transform: BatchTransform) -> TorchNetwork:
    _check_bf16()
    return TorchNetwork(model, batch_transform, torch.bfloat16)


def _bf16_openvino(path: Path, num_threads: int) -> OpenVinoNetwork:
    _check_bf16()
    return OpenVinoNetwork(path, num_threads=num_threads, precision="bf16")


def _check_bf16() -> None:
    if not has_bf16_arithmetic():
        raise DeviceError("this CPU has no arithmetic in bf16")
