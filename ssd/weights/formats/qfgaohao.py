"""The seven detectors of qfgaohao/pytorch-ssd and dusty-nv's fork: bare state dicts.

Class names are in a file of their own, labels.txt, whose first line is the background. vgg16-ssd has a batch norm in
place of the L2 norm of conv4_3. mb2-ssd-lite numbers the layers of a block in one row: 0 and 1 the expansion, 3 and 4
the depthwise convolution, 6 and 7 the projection; block 1 has no expansion.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.weights.formats.format import Converted, Format, rename
from ssd.weights.formats.layouts import CLS_HEADERS, REG_HEADERS, VGG_CONVS, header_names, layer_rules, vgg_names

Rules = Sequence[tuple[str, str]]

_HEADERS = (
    (r"classification_headers\.(.+)", rf"{CLS_HEADERS}.\1"),
    (r"regression_headers\.(.+)", rf"{REG_HEADERS}.\1"),
)
_SEPARABLE_HEADERS = (
    (r"classification_headers\.(\d+)\.(\d\..+)", r"box_head.predictor.cls_headers.\1.conv.\2"),
    (r"regression_headers\.(\d+)\.(\d\..+)", r"box_head.predictor.reg_headers.\1.conv.\2"),
    *_HEADERS,
)
PLAIN_RULES = ((r"base_net\.(.+)", r"backbone.features.\1"), (r"extras\.(.+)", r"backbone.extras.\1"), *_HEADERS)
_VGG_RULES = layer_rules(
    {
        "source_layer_add_ons.0": "backbone.batch_norm",
        **vgg_names(
            [f"base_net.{conv}" for conv in VGG_CONVS],
            [f"extras.{pair}.{index}" for pair in range(4) for index in (0, 2)],
        ),
        **header_names("classification_headers.{}", "regression_headers.{}"),
    }
)
_MB2_RULES = (
    (r"base_net\.1\.conv\.([01])\.(.+)", r"backbone.features.1.conv.0.\1.\2"),
    (r"base_net\.1\.conv\.3\.(.+)", r"backbone.features.1.conv.1.\1"),
    (r"base_net\.1\.conv\.4\.(.+)", r"backbone.features.1.conv.2.\1"),
    *(
        (rf"{theirs}\.(\d+)\.conv\.{number}\.(.+)", rf"{ours}.\1.conv.{place}.\2")
        for theirs, ours in (("base_net", "backbone.features"), ("extras", "backbone.extras"))
        for number, place in ((0, "0.0"), (1, "0.1"), (3, "1.0"), (4, "1.1"), (6, "2"), (7, "3"))
    ),
    (r"base_net\.((?:0|18)\..+)", r"backbone.features.\1"),
    *_SEPARABLE_HEADERS,
)
_FIRST_MB3_BLOCK = 3  # after a convolution, its batch norm and the activation
_LAYERS = {"conv1": "conv.0", "bn1": "conv.1", "conv2": "conv.3", "bn2": "conv.4", "conv3": "conv.6", "bn3": "conv.7"}


def _mb3_rules(num_blocks: int) -> Rules:
    last = _FIRST_MB3_BLOCK + num_blocks
    places = {rf"extras\.{index}": f"backbone.extras.{index}" for index in range(4)}
    places |= {rf"base_net\.{_FIRST_MB3_BLOCK + n}": f"backbone.features.{n + 1}" for n in range(num_blocks)}
    rules = [(r"base_net\.([01])\.(.+)", r"backbone.features.0.\1.\2")]
    rules += [(rf"base_net\.{last + n}\.(.+)", rf"backbone.features.{num_blocks + 1}.{n}.\1") for n in (0, 1)]
    for theirs, ours in places.items():
        rules += [(rf"{theirs}\.{layer}\.(.+)", rf"{ours}.{place}.\1") for layer, place in _LAYERS.items()]
        rules += [
            (rf"{theirs}\.se\.se\.(.+)", rf"{ours}.squeeze.weigh.\1"),
            (rf"{theirs}\.(shortcut\..+)", rf"{ours}.\1"),
        ]
    return [*rules, *_SEPARABLE_HEADERS]


def _convert(rules: Rules, config: str, weights: StateDict, content: Mapping[str, Any]) -> Converted:
    return Converted(rename(weights, rules), config)


# End of the name of the format, network, rules, and tensors that together tell it from the others.
_NETWORKS: tuple[tuple[str, str, Rules, str, str, str], ...] = (
    ("vgg", "vgg16-ssd", _VGG_RULES, "base_net.0.weight", "source_layer_add_ons.0.running_mean", "0"),
    ("mb1", "mb1-ssd", PLAIN_RULES, "base_net.13.3.weight", "extras.0.2.weight", "0"),
    ("mb1-lite", "mb1-ssd-lite", PLAIN_RULES, "base_net.13.3.weight", "extras.0.2.0.weight", "0.2"),
    ("mb2-lite", "mb2-ssd-lite", _MB2_RULES, "base_net.14.conv.7.weight", "extras.0.conv.7.weight", "0.3"),
    ("mb3-large-lite", "mb3-large-ssd-lite", _mb3_rules(15), "base_net.17.bn3.weight", "base_net.19.weight", "0.3"),
    ("mb3-small-lite", "mb3-small-ssd-lite", _mb3_rules(11), "base_net.13.bn3.weight", "base_net.15.weight", "0.3"),
    ("sq-lite", "sq-ssd-lite", PLAIN_RULES, "base_net.12.squeeze.weight", "extras.4.2.2.weight", "0.2"),
)
FORMATS = tuple(
    Format(
        name=f"qfgaohao-{name}",
        title=f"{network} of qfgaohao/pytorch-ssd",
        marks=tuple(f"{re.escape(mark)}$" for mark in (*marks, f"classification_headers.{header}.weight")),
        convert=partial(_convert, rules, f"interop/qfgaohao_{network.replace('-', '_')}_voc"),
    )
    for name, network, rules, *marks, header in _NETWORKS
)
