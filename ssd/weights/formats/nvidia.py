"""SSD300 with ResNet of NVIDIA's DeepLearningExamples, and uvipen's SSD-ResNet50, whose tensors have the same names.

NVIDIA saves ``{"epoch", "iteration", "optimizer", "scheduler", "label_map", "model"}``, uvipen ``{"epoch",
"model_state_dict", "optimizer", "scheduler"}``. Before v1.1, names could have the prefixes of wrapped models.

The channels of the headers are value-major, as those of MLPerf's SSD300, from which the code of both descends; the
priors are those of the paper for COCO, clipped.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.headers import to_prior_major, with_headers
from ssd.weights.formats.source import Converted, Source, StateDict, rename

_FIRST_NAME = "feature_extractor.feature_extractor.0.weight"
_NAMES = (
    (r"feature_extractor\.feature_extractor\.0\.(.+)", r"backbone.conv1.\1"),
    (r"feature_extractor\.feature_extractor\.1\.(.+)", r"backbone.bn1.\1"),
    (r"feature_extractor\.feature_extractor\.4\.(.+)", r"backbone.layer1.\1"),
    (r"feature_extractor\.feature_extractor\.5\.(.+)", r"backbone.layer2.\1"),
    (r"feature_extractor\.feature_extractor\.6\.(.+)", r"backbone.layer3.\1"),
)
# What the files of MLPerf share.
EXTRAS_AND_HEADERS = (
    (r"additional_blocks\.(.+)", r"backbone.extras.\1"),
    (r"loc\.(.+)", r"box_head.predictor.reg_headers.\1"),
    (r"conf\.(.+)", r"box_head.predictor.cls_headers.\1"),
)

# Depth by the number of blocks in conv4_x and whether these are bottlenecks (Deep Residual Learning, Table 1).
_DEPTHS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of NVIDIA or uvipen.

    Raises:
        CheckpointError: the first convolution is missing, a name is unexpected, the channels of a header do not fit, or
            conv4_x is of no ResNet.
    """
    weights = _without_prefix(weights)
    return Converted(
        rename(prior_major(weights), (*_NAMES, *EXTRAS_AND_HEADERS)),
        "interop/nvidia_ssd300_resnet50_coco",
        ("MODEL.BACKBONE.NAME", f"resnet{_depth(weights)}"),
        labelled_classes(content),
    )


def prior_major(weights: StateDict, last: str = "") -> StateDict:
    """Put the channels of the headers, ``loc`` and ``conf``, into our order.

    Args:
        weights: in their names.
        last: what follows the level in the name of a header's last convolution, with a dot; "" = it is the header.

    Raises:
        CheckpointError: the channels of a header do not go with the number of priors, a quarter of those of ``loc``.
    """
    suffix = re.escape(last)
    for name, value in weights.items():
        if match := re.fullmatch(rf"loc\.(\d+)\.{suffix}bias", name):
            headers = rf"(loc|conf)\.{match[1]}\.{suffix}(weight|bias)"
            weights = with_headers(weights, headers, partial(to_prior_major, num_priors=value.numel() // 4))
    return weights


def labelled_classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes, without background, from ``label_map``: label to name, 0 is the background."""
    names = content.get("label_map")
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))) or len(names) < 2:
        return None
    ordered = [names[label] for label in range(1, len(names))]
    return tuple(ordered) if all(isinstance(name, str) for name in ordered) else None


def _without_prefix(weights: StateDict) -> StateDict:
    """Take away what precedes the known names, such as "1." of a model within nn.Sequential."""
    for name in weights:
        if name.endswith(_FIRST_NAME):
            prefix = name.removesuffix(_FIRST_NAME)
            return {name.removeprefix(prefix): value for name, value in weights.items()}
    raise CheckpointError(f"missing tensor: {_FIRST_NAME}")


def _depth(weights: StateDict) -> int:
    pattern = re.compile(r"feature_extractor\.feature_extractor\.6\.(\d+)\.(\w+)")
    found = [match.groups() for match in map(pattern.match, weights) if match]
    blocks, layers = {block for block, _ in found}, {layer for _, layer in found}
    kind = len(blocks), "conv3" in layers
    if kind not in _DEPTHS:
        known = ", ".join(map(str, _DEPTHS.values()))
        raise CheckpointError(
            f"feature_extractor.feature_extractor.6 has {kind[0]} {'bottleneck' if kind[1] else 'basic'} blocks; a "
            f"ResNet-{known} has another number: the file is damaged or of another network"
        )
    return _DEPTHS[kind]


SOURCE = Source(
    name="nvidia",
    title="NVIDIA's or uvipen's SSD300 with ResNet",
    marks=(
        r"(.*\.)?feature_extractor\.feature_extractor\.4\.0\.conv1\.weight$",
        r"(.*\.)?additional_blocks\.0\.3\.weight$",
        r"(.*\.)?conf\.0\.weight$",
    ),
    convert=convert,
)
