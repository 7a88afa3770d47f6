"""Exported files in ONNX Runtime, OpenVINO and PyTorch.

B images, S_h and S_w the sides of the network input, K detections at most per image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssd.deploy.metadata import PROGRAM_METADATA, Metadata, parse_metadata, read_metadata
from ssd.inference.predictor import DEFAULT_SCORE_THRESHOLD, Network, Predictor
from ssd.modeling.anchors import BoxCoder
from ssd.modeling.box_head import PostProcessor
from ssd.modeling.box_head.box_predictor import class_scores
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner
from ssd.utils.errors import import_extra

# Batch sizes for which OpenVINO keeps a compiled network: full batches, the last batch of a source, single images.
_NUM_BATCH_SIZES = 4


class ExportedNetwork(ABC):
    """An exported file as the network of a Predictor; subclasses run it."""

    def __init__(self, metadata: Metadata):
        self.metadata = metadata
        self._normalize = metadata.batch_transform
        self._priors = torch.tensor(metadata.priors)
        self._box_coder = BoxCoder(metadata.center_variance, metadata.size_variance)
        self._post_processor = PostProcessor(
            metadata.image_size,
            score_threshold=metadata.score_threshold,
            nms_threshold=metadata.nms_threshold,
            pre_nms_top_k=metadata.pre_nms_top_k,
            max_per_class=metadata.max_per_class,
            max_per_image=metadata.max_per_image,
            clip=metadata.clip_boxes,
        )

    def __repr__(self) -> str:
        return type(self).__name__

    @abstractmethod
    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Return the outputs of the file for uint8 (B, H, W, 3), or float32 (B, 3, S_h, S_w) if it is raw."""

    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in RGB images, uint8 (B, 3, S_h, S_w) on the CPU; see PostProcessor for the result."""
        if self.metadata.kind == "raw":
            inputs = self._normalize(images).contiguous().numpy()
            cls_logits, bbox_pred = map(torch.from_numpy, self.run(inputs))
            boxes = center_to_corner(self._box_coder.decode(bbox_pred, self._priors))
            return self._post_processor(class_scores(cls_logits, self.metadata.score_function), boxes)
        inputs = images.permute(0, 2, 3, 1).contiguous().numpy()  # no copy if `images` has channels-last memory
        boxes, scores, labels, counts = map(torch.from_numpy, self.run(inputs))
        detections = []
        for image, count in enumerate(counts.tolist()):
            row = (image, slice(count))
            found = Container(boxes=boxes[row], labels=labels[row], scores=scores[row])
            found.img_height, found.img_width = self.metadata.image_size
            detections.append(found)
        return detections


class OnnxNetwork(ExportedNetwork):
    """An ONNX file, with its side-car next to it, in ONNX Runtime.

    ``num_threads`` None is as PyTorch; ``providers`` are those of ONNX Runtime, the preferred first, None the CPU.
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None, providers: Sequence[str] | None = None):
        onnxruntime = import_extra("onnxruntime", "onnx")
        super().__init__(read_metadata(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        names = providers or ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=names)
        self._input = self._session.get_inputs()[0].name

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """See ExportedNetwork."""
        return self._session.run(None, {self._input: inputs})


class OpenVinoNetwork(ExportedNetwork):
    """An ONNX file, with its side-car next to it, in OpenVINO on the CPU.

    It is compiled for each batch size, in a fraction of a second; with a dynamic batch it is up to a quarter slower.
    ``num_threads`` None is as PyTorch; ``precision`` "bf16" is less exact than "f32", and faster where the CPU has it.
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None, precision: str = "f32"):
        self._core = shared_core(import_extra("openvino", "openvino"))
        super().__init__(read_metadata(path))
        self._model = self._core.read_model(str(path))
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": num_threads or torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = lru_cache(_NUM_BATCH_SIZES)(self._compile)

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """See ExportedNetwork."""
        results = self._compiled(inputs.shape).infer([inputs], share_inputs=True)
        return [np.array(results[index]) for index in range(len(results))]  # the next call overwrites the results

    def _compile(self, shape: tuple[int, ...]) -> Any:
        model = self._model.clone()
        model.reshape(list(shape))
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


@cache
def shared_core(openvino: ModuleType) -> Any:
    """Return the only Core of this process.

    The CPU plugin of each sets, and at its end restores, the signal stack of its thread; several that end in another
    order than last in, first out leave unmapped memory there, and the next signal is a SIGSEGV (OpenVINO 2026.4).
    """
    return openvino.Core()


class ProgramNetwork(ExportedNetwork):
    """A .pt2 file in PyTorch; the file has its own metadata."""

    def __init__(self, path: str | Path):
        extra_files = {PROGRAM_METADATA: ""}
        self._module = torch.export.load(path, extra_files=extra_files).module()
        super().__init__(parse_metadata(extra_files[PROGRAM_METADATA].encode(), f"{PROGRAM_METADATA} in {path}"))

    @torch.inference_mode()
    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """See ExportedNetwork."""
        return [output.numpy() for output in self._module(torch.from_numpy(inputs))]


class MetadataPredictor(Predictor):
    """Predictor of a network, by its description."""

    def __init__(self, network: Network, metadata: Metadata):
        super().__init__(
            *(network, metadata.image_size, metadata.class_names),
            score_threshold=metadata.score_thresholds or DEFAULT_SCORE_THRESHOLD,
            nms_threshold=metadata.nms_threshold,
        )


class OnnxDetector(MetadataPredictor):
    """Detector of an exported ONNX file in ONNX Runtime; see OnnxNetwork and Predictor."""

    def __init__(self, path: str | Path, *, num_threads: int | None = None, providers: Sequence[str] | None = None):
        network = OnnxNetwork(path, num_threads=num_threads, providers=providers)
        super().__init__(network, network.metadata)


class OpenVinoDetector(MetadataPredictor):
    """Detector of an exported ONNX file in OpenVINO; see OpenVinoNetwork and Predictor."""

    def __init__(self, path: str | Path, *, num_threads: int | None = None, precision: str = "f32"):
        network = OpenVinoNetwork(path, num_threads=num_threads, precision=precision)
        super().__init__(network, network.metadata)


def open_exported(path: str) -> Predictor:
    """Return the detector of an exported file, .onnx in ONNX Runtime or .pt2 in PyTorch."""
    if path.endswith(".pt2"):
        network = ProgramNetwork(path)
        return MetadataPredictor(network, network.metadata)
    return OnnxDetector(path)


def exported_networks(path: Path) -> dict[str, Callable[[int | None], Network]]:
    """Return, by name, functions that load an exported file for a number of threads (None = as PyTorch)."""
    if path.suffix == ".pt2":
        return {path.name: lambda _: ProgramNetwork(path)}
    return {
        f"{path.name} in ONNX Runtime": lambda num_threads: OnnxNetwork(path, num_threads=num_threads),
        f"{path.name} in OpenVINO": lambda num_threads: OpenVinoNetwork(path, num_threads=num_threads),
    }
