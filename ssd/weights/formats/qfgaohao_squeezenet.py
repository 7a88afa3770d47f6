"""sq-ssd-lite of qfgaohao/pytorch-ssd and dusty-nv: bare state dicts.

Names of classes are in a file of their own, labels.txt, which begins with the background.
"""

from collections.abc import Mapping
from typing import Any

from ssd.weights.formats.qfgaohao_mobilenet import HEADERS
from ssd.weights.formats.source import Converted, Source, StateDict, rename

_NAMES = (
    (r"base_net\.(.+)", r"backbone.features.\1"),
    (r"extras\.(.+)", r"backbone.extras.\1"),
    *HEADERS,
)


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Rename the tensors.

    Raises:
        CheckpointError: a name is unexpected.
    """
    return Converted(rename(weights, _NAMES), "interop/qfgaohao_sq_ssd_lite_voc")


SOURCE = Source(
    name="qfgaohao-sq-lite",
    title="sq-ssd-lite of qfgaohao/pytorch-ssd",
    marks=(r"base_net\.12\.squeeze\.weight$", r"extras\.4\.2\.2\.weight$", r"classification_headers\.0\.2\.weight$"),
    convert=convert,
)
