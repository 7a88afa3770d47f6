"""int8 convolutions in an exported ONNX file, with ranges measured on images: docs/deployment.md, with figures."""

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssd.data.samples import resize_image
from ssd.deploy.metadata import Metadata, read_metadata, write_metadata
from ssd.utils.errors import ExportError, OutputError, import_extra, os_errors_as
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)


def quantize_onnx(path: str | Path, output: str | Path, images: Iterable[np.ndarray]) -> Path:
    """Write an int8 version of an exported ONNX file, with the same inputs and outputs, and its side-car.

    ``images``, RGB uint8 (H, W, 3), are typical of those to come: values outside of their ranges are cut off.
    """
    onnx, quantization, shape_inference = (
        import_extra(package, "onnx")
        for package in ("onnx", "onnxruntime.quantization", "onnxruntime.quantization.shape_inference")
    )
    metadata, output = read_metadata(path), Path(output)
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        # Fuses and infers shapes; the inference of ONNX itself is enough for these graphs.
        shape_inference.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        nodes = nodes_between_convolutions(model.graph.node)
        if not nodes:
            raise ExportError(f"{path}: no convolution follows another one, so there is nothing to quantise")
        quantization.quantize_static(
            model,
            quantized,
            CalibrationReader(images, metadata, model.graph.input[0].name),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=nodes,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},  # the mean over all images: a rare extreme coarsens no values
        )
        with os_errors_as(OutputError, output), atomic_write(output) as file:
            file.write(quantized.read_bytes())
    write_metadata(metadata, output)
    logger.info("Quantised %s (%d nodes)", output, len(nodes))
    return output


class CalibrationReader:
    """Source of network inputs for onnxruntime.quantization."""

    def __init__(self, images: Iterable[np.ndarray], metadata: Metadata, input_name: str):
        self._inputs = ({input_name: network_input(image, metadata)} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the input for the next image, None after the last."""
        return next(self._inputs, None)


def network_input(image: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Return the input of an exported network for one image, RGB uint8 (H, W, 3).

    It is uint8 (1, S_h, S_w, 3), or normalised float32 (1, 3, S_h, S_w) for a raw network.
    """
    pixels = torch.from_numpy(resize_image(image, metadata.image_size))[None]
    if metadata.kind == "complete":
        return pixels.numpy()
    return metadata.batch_transform(pixels.permute(0, 3, 1, 2)).contiguous().numpy()


def nodes_between_convolutions(nodes: Iterable[Any]) -> list[str]:
    """Return the names of the nodes that are or follow a convolution and come before another one; all get a name."""
    nodes = list(nodes)
    follows: list[bool] = []
    reached: set[str] = set()  # tensors that depend on a convolution
    for node in nodes:
        follows.append(not reached.isdisjoint(node.input))
        if follows[-1] or node.op_type == "Conv":
            reached.update(node.output)
    awaited: set[str] = set()  # tensors that a convolution depends on
    between = []
    for index, node in reversed([*enumerate(nodes)]):
        is_conv, leads_to_conv = node.op_type == "Conv", not awaited.isdisjoint(node.output)
        node.name = node.name or f"unnamed_{index}"
        if leads_to_conv and (is_conv or follows[index]):
            between.append(node.name)
        if leads_to_conv or is_conv:
            awaited.update(node.input)
    return between[::-1]
