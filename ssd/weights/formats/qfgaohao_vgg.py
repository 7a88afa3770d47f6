"""vgg16-ssd of qfgaohao/pytorch-ssd and dusty-nv: bare state dicts, a batch norm in place of the L2 norm of conv4_3.

Names of classes are in a file of their own, labels.txt, which begins with the background.
"""

from collections.abc import Mapping
from typing import Any

from ssd.weights.formats.source import Converted, Source, StateDict, rename
from ssd.weights.formats.vgg import CONVS, level_names, rules, vgg_names

_NAMES = {
    "source_layer_add_ons.0": "backbone.batch_norm",
    **vgg_names(
        convs=[f"base_net.{conv}" for conv in CONVS],
        extras=[f"extras.{pair}.{index}" for pair in range(4) for index in (0, 2)],
        cls_headers=level_names("classification_headers.{}"),
        reg_headers=level_names("regression_headers.{}"),
    ),
}


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a vgg16-ssd of the qfgaohao port.

    Raises:
        CheckpointError: a name is unexpected.
    """
    return Converted(rename(weights, rules(_NAMES)), "interop/qfgaohao_vgg16_ssd_voc")


SOURCE = Source(
    name="qfgaohao-vgg",
    title="vgg16-ssd of qfgaohao/pytorch-ssd",
    marks=(r"base_net\.0\.weight$", r"source_layer_add_ons\.0\.running_mean$", r"classification_headers\.0\.weight$"),
    convert=convert,
)
