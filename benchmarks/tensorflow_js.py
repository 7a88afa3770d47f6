"""Write the detector of a TensorFlow.js model as a frozen graph, which `ssd convert` reads.

python -m benchmarks.tensorflow_js model.json detector.pb

Models of the Object Detection API, such as those of coco-ssd, have the batch norms of the backbone folded in part: a
depthwise kernel has its scale ("mul") and offset ("sub") beside it, another one has only the offset. In the graph all
of these are folded, under the names that TFLite files have; other batch norms, such as those of the predictors, stay.
"""

import argparse
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.graph_pb2 import GraphDef  # type: ignore[import-untyped]
from tensorboard.compat.proto.types_pb2 import DT_FLOAT  # type: ignore[import-untyped]

_NORM = "BatchNorm/batchnorm"
_KERNEL = re.compile(r"(.+)/(Conv2D/merged_input|depthwise_weights)")


def read_tensors(model: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a model.json and its shards by name, as float32 where they are quantised."""
    tensors: dict[str, np.ndarray] = {}
    for group in json.loads(model.read_bytes())["weightsManifest"]:
        content, start = b"".join((model.parent / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            scale: Mapping[str, Any] = entry.get("quantization", {})
            dtype = np.dtype(scale.get("dtype", entry["dtype"])).newbyteorder("<")
            values = np.frombuffer(content, dtype, math.prod(entry["shape"]), start).reshape(entry["shape"])
            start += values.nbytes
            if "scale" in scale:
                values = (values * scale["scale"] + scale["min"]).astype(np.float32)
            tensors[entry["name"]] = values
    return tensors


def fold_norms(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the kernels, offsets and whole batch norms of extractor and predictors under the names of TFLite files."""
    folded: dict[str, np.ndarray] = {}
    for name, values in tensors.items():
        if not re.match("(FeatureExtractor|BoxPredictor)", name) or values.dtype != np.float32:
            continue
        if name.endswith(f"/{_NORM}/sub"):
            folded[name.replace(f"{_NORM}/sub", "biases")] = values
        elif match := _KERNEL.fullmatch(name):
            scale = tensors.get(f"{match[1]}/{_NORM}/mul", np.float32(1))  # of the channels of a depthwise kernel
            end = "weights" if match[2].startswith("Conv2D") else match[2]
            folded[f"{match[1]}/{end}"] = values * np.reshape(scale, (-1, 1))
        elif not name.endswith(f"/{_NORM}/mul"):
            folded[name] = values
    return folded


def make_graph(tensors: Mapping[str, np.ndarray]) -> GraphDef:
    """Return a graph that has nothing but these constants."""
    graph = GraphDef()
    for name, values in tensors.items():
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = DT_FLOAT
        tensor = node.attr["value"].tensor
        tensor.dtype, tensor.tensor_content = DT_FLOAT, np.ascontiguousarray(values, "<f4").tobytes()
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
    return graph


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tensorflow_js")
    parser.add_argument("model", type=Path, help="model.json, next to its shards")
    parser.add_argument("graph", type=Path, help="the .pb to write")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    """Write the graph."""
    parsed = parse_args(args)
    parsed.graph.write_bytes(make_graph(fold_norms(read_tensors(parsed.model))).SerializeToString())


if __name__ == "__main__":
    main()
