"""SSD300 of sgrvinod's tutorial: whole pickled models, of which the state dict is read.

The six priors of a cell are in the order 1, the large square, 2, 3, 1/2, .333; ours has each ratio beside its inverse.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.weights.formats.headers import CLS_HEADERS, REG_HEADERS, take_priors, with_headers
from ssd.weights.formats.source import Converted, Source, StateDict, rename, required
from ssd.weights.formats.vgg import L2_NORM, rules, vgg_names

_SCALE = "rescale_factors"
_CONVS = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3", "6", "7"]
_LEVELS = ("conv4_3", "conv7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
_NAMES = {
    _SCALE: L2_NORM,
    **vgg_names(
        convs=[f"base.conv{conv}" for conv in _CONVS],
        extras=[f"aux_convs.conv{stage}_{index}" for stage in range(8, 12) for index in (1, 2)],
        cls_headers=[f"pred_convs.cl_{level}" for level in _LEVELS],
        reg_headers=[f"pred_convs.loc_{level}" for level in _LEVELS],
    ),
}
_SIX_PRIORS = (0, 1, 2, 4, 3, 5)


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of sgrvinod's tutorial.

    Raises:
        CheckpointError: the scales of conv4_3 are missing, a header of six priors has other channels, or a name is
            unexpected.
    """
    flat = {**weights, _SCALE: required(weights, _SCALE).flatten()}  # (1, 512, 1, 1) there
    ours = rename(flat, rules(_NAMES))
    six = rf"({CLS_HEADERS}|{REG_HEADERS})\.[123]\..+"
    ours = with_headers(ours, six, partial(take_priors, num_priors=6, indices=_SIX_PRIORS))
    return Converted(
        ours,
        "interop/sgrvinod_ssd300_voc",
        notes=(
            "This project shrinks images by Pillow's filter, which averages all pixels, and ours by interpolation "
            "between the nearest: scores differ a little.",
        ),
    )


SOURCE = Source(
    name="sgrvinod",
    title="SSD300 of sgrvinod/a-PyTorch-Tutorial-to-Object-Detection",
    marks=(r"rescale_factors$", r"base\.conv1_1\.weight$", r"pred_convs\.cl_conv4_3\.weight$"),
    convert=convert,
)
