"""Detection by ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ssd.deploy.exported_network import ExportedNetwork
from ssd.inference.predictor import Predictor
from ssd.utils.errors import DeviceError, import_extra


class OnnxDetector(Predictor):
    """Detects in images of any size by an exported ONNX file and ONNX Runtime; see Predictor.

    Args:
        path: see OnnxNetwork.
        num_threads: likewise.
        providers: likewise.
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None, providers: Sequence[str] | None = None):
        network = OnnxNetwork(path, num_threads=num_threads, providers=providers)
        metadata = network.metadata
        super().__init__(network, metadata.image_size, metadata.class_names, nms_threshold=metadata.nms_threshold)


class OnnxNetwork(ExportedNetwork):
    """An exported ONNX file, run by ONNX Runtime; a Network as Predictor takes one.

    Args:
        path: the file; its side-car lies beside it.
        num_threads: that it computes with; None = as many as PyTorch.
        providers: ONNX Runtime's execution providers, the preferred first; None = the CPU.

    Raises:
        ExportError: the file or its side-car is missing or damaged, or they do not belong together.
        MissingPackageError: onnxruntime is not installed.
        DeviceError: onnxruntime has no such provider.
    """

    def __init__(self, path: str | Path, *, num_threads: int | None = None, providers: Sequence[str] | None = None):
        onnxruntime = import_extra("onnxruntime", "onnx")
        super().__init__(path)
        names = ["CPUExecutionProvider"] if providers is None else list(providers)
        available = onnxruntime.get_available_providers()
        for name in names:
            if name not in available:
                raise DeviceError(f"ONNX Runtime has no provider {name!r} here; it has {', '.join(available)}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(str(path), options, providers=names)
        self._input = self._session.get_inputs()[0].name

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """See ExportedNetwork."""
        return self._session.run(None, {self._input: inputs})
