"""Detection by OpenVINO."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssd.deploy.exported_network import ExportedNetwork
from ssd.inference.predictor import Predictor
from ssd.utils.errors import import_extra

# Numbers of images that compiled networks are kept for: whole batches, the last of a source, single images.
_NUM_BATCH_SIZES = 4


class OpenVinoDetector(Predictor):
    """Detects in images of any size by an exported ONNX file and OpenVINO, on the CPU; see Predictor.

    Args:
        path: see OpenVinoNetwork.
        num_threads: likewise.
        precision: likewise.
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None, precision: str = "f32"):
        network = OpenVinoNetwork(path, num_threads=num_threads, precision=precision)
        metadata = network.metadata
        super().__init__(network, metadata.image_size, metadata.class_names, nms_threshold=metadata.nms_threshold)


class OpenVinoNetwork(ExportedNetwork):
    """An exported ONNX file, run by OpenVINO on the CPU; a Network as Predictor takes one.

    It is compiled for each batch size that comes, which takes a fraction of a second: batches of any size run a tenth
    to a quarter slower.

    Args:
        path: the file; its side-car lies beside it.
        num_threads: that it computes with; None = as many as PyTorch.
        precision: f32, or bf16: OpenVINO's own choice where the CPU has it, several times quicker and less exact.

    Raises:
        ExportError: the file or its side-car is missing or damaged, or they do not belong together.
        MissingPackageError: openvino is not installed.
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None, precision: str = "f32"):
        openvino = import_extra("openvino", "openvino")
        super().__init__(path)
        self._core = openvino.Core()
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
        _remove_resizing(model)
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


def _remove_resizing(model: Any) -> None:
    """Take out resizes to the size that there is already; OpenVINO itself would carry them out."""
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Interpolate":
            source, result = operation.input_value(0), operation.output(0)
            if source.get_partial_shape() == result.get_partial_shape():
                result.replace(source)
