"""SSD300 of sgrvinod's tutorial: pickled models.

The six priors of a cell have the order 1, the large square, 2, 3, 1/2, .333; ours has each ratio next to its inverse.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename, require

_SCALE = "rescale_factors"
_CONVS = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3", "6", "7"]
_LEVELS = ("conv4_3", "conv7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
_NAMES = {
    _SCALE: layouts.L2_NORM,
    **layouts.vgg_names(
        [f"base.conv{conv}" for conv in _CONVS],
        [f"aux_convs.conv{stage}_{index}" for stage in range(8, 12) for index in (1, 2)],
    ),
    **layouts.header_names("pred_convs.cl_{}", "pred_convs.loc_{}", _LEVELS),
}
_SIX_PRIORS = (0, 1, 2, 4, 3, 5)
_NOTE = "This project shrinks images with Pillow, which averages all pixels; ours interpolates: scores differ a little."


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    require(weights, _SCALE)
    flat = {**weights, _SCALE: weights[_SCALE].flatten()}  # (1, 512, 1, 1) to (512,)
    ours = rename(flat, layouts.layer_rules(_NAMES))
    six = rf"({layouts.CLS_HEADERS}|{layouts.REG_HEADERS})\.[123]\..+"
    ours = layouts.with_headers(ours, six, partial(layouts.take_priors, num_priors=6, indices=_SIX_PRIORS))
    return Converted(ours, "interop/sgrvinod_ssd300_voc", notes=(_NOTE,))


_MARKS = (r"rescale_factors$", r"base\.conv1_1\.weight$", r"pred_convs\.cl_conv4_3\.weight$")
FORMATS = (Format("sgrvinod", "SSD300 of sgrvinod/a-PyTorch-Tutorial-to-Object-Detection", _MARKS, _convert),)
