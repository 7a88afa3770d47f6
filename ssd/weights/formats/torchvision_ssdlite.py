"""SSDLite of torchvision (ssdlite320_mobilenet_v3_large): bare state dicts.

The backbone has a reduced tail where it was trained from random weights, as in torchvision's published file, and the
whole one where it was trained from those of ImageNet.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.weights.formats.headers import (
    CLS_HEADERS,
    REG_HEADERS,
    take_values,
    with_depthwise_biases,
    with_headers,
    with_our_eps,
)
from ssd.weights.formats.source import Converted, Source, StateDict, rename, required
from ssd.weights.formats.torchvision_slots import NOTE, NUM_SLOTS, SLOTS

_EPS = 1e-3  # of its batch norms

_HEADERS = {
    "head.classification_head.module_list": CLS_HEADERS,
    "head.regression_head.module_list": REG_HEADERS,
}
_NAMES = (
    # Block 13 is split there: its expansion ends features.0, and features.1 begins with the rest.
    (r"backbone\.features\.0\.13\.(.+)", r"backbone.features.13.conv.0.\1"),
    (r"backbone\.features\.1\.0\.(.+)", r"backbone.features.13.conv.\1"),
    (r"backbone\.features\.0\.(\d+)\.block\.(.+)", r"backbone.features.\1.conv.\2"),
    (r"backbone\.features\.1\.1\.block\.(.+)", r"backbone.features.14.conv.\1"),
    (r"backbone\.features\.1\.2\.block\.(.+)", r"backbone.features.15.conv.\1"),
    (r"backbone\.features\.1\.3\.(.+)", r"backbone.features.16.\1"),
    (r"backbone\.features\.0\.0\.(.+)", r"backbone.features.0.\1"),
    (r"backbone\.extra\.(.+)", r"backbone.extras.\1"),
    *((rf"{re.escape(theirs)}\.(\d+)\.0\.(.+)", rf"{ours}.\1.conv.\2") for theirs, ours in _HEADERS.items()),
    *((rf"{re.escape(theirs)}\.(\d+)\.1\.(.+)", rf"{ours}.\1.conv.3.\2") for theirs, ours in _HEADERS.items()),
)
_WHOLE_CHANNELS = 960  # of the last layer, which has half as many with the reduced tail


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of torchvision; of 91 slots, those of COCO's classes are kept, other numbers are one's own.

    Raises:
        CheckpointError: the headers of the first level or the last layer of the backbone are missing, headers do not
            go together, or a name is unexpected.
    """
    ours = with_depthwise_biases(with_our_eps(rename(weights, _NAMES), _EPS))
    is_whole = required(weights, "backbone.features.1.3.0.weight").shape[:1] == (_WHOLE_CHANNELS,)
    overrides = ("MODEL.BACKBONE.NAME", "mobilenet_v3_ssdlite") if is_whole else ()
    config = "interop/torchvision_ssdlite320_mobilenet_v3_large_coco"
    num_scores, num_offsets = (required(weights, f"{header}.0.1.bias").numel() for header in _HEADERS)
    if 4 * num_scores != NUM_SLOTS * num_offsets:
        return Converted(ours, config, overrides)
    classes_alone = partial(take_values, num_values=NUM_SLOTS, indices=SLOTS)
    ours = with_headers(ours, rf"{CLS_HEADERS}\.\d+\.conv\.3\.\w+", classes_alone)
    return Converted(ours, config, overrides, notes=(NOTE,))


SOURCE = Source(
    name="torchvision-ssdlite",
    title="torchvision's ssdlite320_mobilenet_v3_large",
    marks=(
        r"backbone\.features\.0\.1\.block\.0\.0\.weight$",
        r"backbone\.extra\.0\.0\.0\.weight$",
        r"head\.classification_head\.module_list\.0\.0\.0\.weight$",
    ),
    convert=convert,
)
