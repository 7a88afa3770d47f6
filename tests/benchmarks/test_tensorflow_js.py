"""Detectors of TensorFlow.js as frozen graphs."""

import json
from pathlib import Path

import numpy as np

from benchmarks import tensorflow_js
from ssd.weights.formats.reading import read_weights

LAYER = "FeatureExtractor/MobilenetV2/expanded_conv"


def test_norms_are_folded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pointwise, depthwise, norm = rng.random((1, 1, 4, 2)), rng.random((3, 3, 2, 1)), rng.random(2)
    scale, offset, steps = rng.random(2), rng.random(2), np.array([0, 100, 255], np.uint8)
    values = {
        f"{LAYER}/project/Conv2D/merged_input": pointwise,
        f"{LAYER}/project/BatchNorm/batchnorm/sub": offset,
        f"{LAYER}/depthwise/depthwise_weights": depthwise,
        f"{LAYER}/depthwise/BatchNorm/batchnorm/mul": scale,
        "BoxPredictor_0/ClassPredictor_depthwise/BatchNorm/gamma": norm,
        "Postprocessor/ExpandDims": rng.random((1, 3, 4)),
        "BoxPredictor_0/ClassPredictor/biases": steps,
    }
    entries = [{"name": name, "shape": value.shape, "dtype": "float32"} for name, value in values.items()]
    entries[-1]["quantization"] = {"dtype": "uint8", "scale": 0.5, "min": -3}
    content = b"".join(np.asarray(v, np.uint8 if v is steps else np.float32).tobytes() for v in values.values())
    for number, part in enumerate((content[:50], content[50:])):
        (tmp_path / f"shard{number}").write_bytes(part)
    manifest = [{"paths": ["shard0", "shard1"], "weights": entries}]
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    tensorflow_js.main([str(tmp_path / "model.json"), str(tmp_path / "graph.pb")])
    expected = {
        f"{LAYER}/project/weights": pointwise,
        f"{LAYER}/project/biases": offset,
        f"{LAYER}/depthwise/depthwise_weights": depthwise * scale[:, None],
        "BoxPredictor_0/ClassPredictor_depthwise/BatchNorm/gamma": norm,
        "BoxPredictor_0/ClassPredictor/biases": np.array([-3, 47, 124.5]),
    }
    found = read_weights(tmp_path / "graph.pb").weights
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)
