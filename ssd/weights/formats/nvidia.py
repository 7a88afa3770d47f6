"""SSD300 with ResNet of NVIDIA's DeepLearningExamples, of uvipen/SSD-pytorch, and of MLPerf Training (ssd-v1).

NVIDIA saves ``{"model", "label_map", ...}``, uvipen ``{"model_state_dict", ...}`` with the same tensor names. Before
v1.1, names could have the prefixes of wrapped models. In MLPerf's network the extra layers have biases and no batch
norm. The headers of all three are value-major; the priors are those of the paper for COCO, clipped.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.format import Converted, Format, rename
from ssd.weights.formats.layouts import CLS_HEADERS, REG_HEADERS, to_prior_major, with_headers

_FIRST_NAME = "feature_extractor.feature_extractor.0.weight"
_EXTRAS_AND_HEADERS = (
    (r"additional_blocks\.(.+)", r"backbone.extras.\1"),
    *((r"loc\.(.+)", rf"{REG_HEADERS}.\1"), (r"conf\.(.+)", rf"{CLS_HEADERS}.\1")),
)
_STAGES = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3"}  # by the number of the layer
_NVIDIA_RULES = (
    *((rf"feature_extractor\.feature_extractor\.{n}\.(.+)", rf"backbone.{stage}.\1") for n, stage in _STAGES.items()),
    *_EXTRAS_AND_HEADERS,
)
_MLPERF_RULES = (
    *((rf"model\.layer1\.{n}\.(.+)", rf"backbone.{stage}.\1") for n, stage in _STAGES.items() if n < 6),
    (r"model\.layer2\.0\.(.+)", r"backbone.layer3.\1"),
    *_EXTRAS_AND_HEADERS,
)
_MLPERF_NOTE = (
    "The network for 1200 pixels of MLPerf Inference (resnet34-ssd1200) has tensors of the same names and shapes, but "
    "headers of stride 3. If this file is of that network, its detections here are meaningless."
)
# Depth by the number of blocks in conv4_x and whether they are bottlenecks (Deep Residual Learning, Table 1).
_DEPTHS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}


def _convert_nvidia(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    weights = _without_prefix(weights)
    ours = rename(prior_major(weights), _NVIDIA_RULES)
    overrides = ("MODEL.BACKBONE.NAME", f"resnet{_depth(weights)}")
    return Converted(ours, "interop/nvidia_ssd300_resnet50_coco", overrides, _labelled_classes(content))


def _convert_mlperf(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    ours = rename(prior_major(weights), _MLPERF_RULES)
    config, class_names = "interop/mlperf_ssd300_resnet34_coco", _labelled_classes(content)
    return Converted(ours, config, class_names=class_names, notes=(_MLPERF_NOTE,))


def prior_major(weights: StateDict, last: str = "") -> StateDict:
    """Reorder the value-major headers ``loc`` and ``conf``; ``last`` is the last of several convolutions: "3."."""
    suffix = re.escape(last)
    for name, value in weights.items():
        if match := re.fullmatch(rf"loc\.(\d+)\.{suffix}bias", name):
            headers = rf"(loc|conf)\.{match[1]}\.{suffix}(weight|bias)"
            weights = with_headers(weights, headers, partial(to_prior_major, num_priors=value.numel() // 4))
    return weights


def _labelled_classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names without background from ``label_map``, which maps label to name; 0 is the background."""
    names = content.get("label_map")
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))) or len(names) < 2:
        return None
    ordered = tuple(names[label] for label in range(1, len(names)))
    return ordered if all(isinstance(name, str) for name in ordered) else None


def _without_prefix(weights: StateDict) -> StateDict:
    """Remove a prefix of all names, such as "1." of a model within nn.Sequential."""
    for name in weights:
        if name.endswith(_FIRST_NAME):
            prefix = name.removesuffix(_FIRST_NAME)
            return {name.removeprefix(prefix): value for name, value in weights.items()}
    raise CheckpointError(f"missing tensor: {_FIRST_NAME}")


def _depth(weights: StateDict) -> int:
    pattern = re.compile(r"feature_extractor\.feature_extractor\.6\.(\d+)\.(\w+)")
    found = [match.groups() for match in map(pattern.match, weights) if match]
    kind = len({block for block, _ in found}), any(layer == "conv3" for _, layer in found)
    if kind not in _DEPTHS:
        raise CheckpointError(
            f"feature_extractor.feature_extractor.6 has {kind[0]} {'bottleneck' if kind[1] else 'basic'} blocks, "
            f"unlike ResNet-{', '.join(map(str, _DEPTHS.values()))}: the file is damaged or of another network"
        )
    return _DEPTHS[kind]


_NVIDIA_MARKS = (
    r"(.*\.)?feature_extractor\.feature_extractor\.4\.0\.conv1\.weight$",
    r"(.*\.)?additional_blocks\.0\.3\.weight$",
    r"(.*\.)?conf\.0\.weight$",
)
_MLPERF_MARKS = (r"model\.layer1\.4\.0\.conv1\.weight$", r"additional_blocks\.0\.2\.bias$", r"conf\.0\.weight$")
FORMATS = (
    Format("nvidia", "NVIDIA's or uvipen's SSD300 with ResNet", _NVIDIA_MARKS, _convert_nvidia),
    Format("mlperf", "MLPerf's SSD300 with ResNet-34", _MLPERF_MARKS, _convert_mlperf),
)
