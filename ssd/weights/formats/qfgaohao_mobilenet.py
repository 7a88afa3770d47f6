"""mb1-ssd, mb1-ssd-lite and mb2-ssd-lite of qfgaohao/pytorch-ssd and dusty-nv: bare state dicts.

Names of classes are in a file of their own, labels.txt, which begins with the background.

mb2-ssd-lite numbers the layers of a block in one row: 0 and 1 the expansion, 3 and 4 the depthwise convolution, 6 and 7
the projection; block 1 has no expansion.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ssd.weights.formats.source import Converted, Source, StateDict, rename

# What the other detectors of this project share; the first pair of LITE_HEADERS is of separable headers.
HEADERS = (
    (r"classification_headers\.(.+)", r"box_head.predictor.cls_headers.\1"),
    (r"regression_headers\.(.+)", r"box_head.predictor.reg_headers.\1"),
)
LITE_HEADERS = (
    (r"classification_headers\.(\d+)\.(\d\..+)", r"box_head.predictor.cls_headers.\1.conv.\2"),
    (r"regression_headers\.(\d+)\.(\d\..+)", r"box_head.predictor.reg_headers.\1.conv.\2"),
    *HEADERS,
)
_MB1_NAMES = ((r"base_net\.(.+)", r"backbone.features.\1"), (r"extras\.(.+)", r"backbone.extras.\1"), *HEADERS)
_MB2_NAMES = (
    (r"base_net\.1\.conv\.([01])\.(.+)", r"backbone.features.1.conv.0.\1.\2"),
    (r"base_net\.1\.conv\.3\.(.+)", r"backbone.features.1.conv.1.\1"),
    (r"base_net\.1\.conv\.4\.(.+)", r"backbone.features.1.conv.2.\1"),
    *(
        (rf"{theirs}\.(\d+)\.conv\.{number}\.(.+)", rf"{ours}.\1.conv.{place}.\2")
        for theirs, ours in (("base_net", "backbone.features"), ("extras", "backbone.extras"))
        for number, place in ((0, "0.0"), (1, "0.1"), (3, "1.0"), (4, "1.1"), (6, "2"), (7, "3"))
    ),
    (r"base_net\.((?:0|18)\..+)", r"backbone.features.\1"),
    *LITE_HEADERS,
)


def convert(rules: Sequence[tuple[str, str]], config: str, weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Rename the tensors of one of the three.

    Raises:
        CheckpointError: a name is unexpected.
    """
    return Converted(rename(weights, rules), config)


SOURCES = (
    Source(
        name="qfgaohao-mb1",
        title="mb1-ssd of qfgaohao/pytorch-ssd",
        marks=(r"base_net\.13\.3\.weight$", r"extras\.0\.2\.weight$", r"classification_headers\.0\.weight$"),
        convert=partial(convert, _MB1_NAMES, "interop/qfgaohao_mb1_ssd_voc"),
    ),
    Source(
        name="qfgaohao-mb1-lite",
        title="mb1-ssd-lite of qfgaohao/pytorch-ssd",
        marks=(r"base_net\.13\.3\.weight$", r"extras\.0\.2\.0\.weight$", r"classification_headers\.0\.2\.weight$"),
        convert=partial(convert, _MB1_NAMES, "interop/qfgaohao_mb1_ssd_lite_voc"),
    ),
    Source(
        name="qfgaohao-mb2-lite",
        title="mb2-ssd-lite of qfgaohao/pytorch-ssd",
        marks=(
            r"base_net\.14\.conv\.7\.weight$",
            r"extras\.0\.conv\.7\.weight$",
            r"classification_headers\.0\.3\.weight$",
        ),
        convert=partial(convert, _MB2_NAMES, "interop/qfgaohao_mb2_ssd_lite_voc"),
    ),
)
