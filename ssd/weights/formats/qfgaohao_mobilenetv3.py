"""mb3-large-ssd-lite and mb3-small-ssd-lite of qfgaohao/pytorch-ssd and dusty-nv: bare state dicts.

Names of classes are in a file of their own, labels.txt, which begins with the background.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.weights.formats.qfgaohao_mobilenet import LITE_HEADERS
from ssd.weights.formats.source import Converted, Source, StateDict, rename

_FIRST_BLOCK = 3  # after a convolution, its batch norm and the activation
# Layers of a block and where ours has them.
_LAYERS = {"conv1": "conv.0", "bn1": "conv.1", "conv2": "conv.3", "bn2": "conv.4", "conv3": "conv.6", "bn3": "conv.7"}


def convert(num_blocks: int, config: str, weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Rename the tensors of a network of so many blocks.

    Raises:
        CheckpointError: a name is unexpected.
    """
    return Converted(rename(weights, _rules(num_blocks)), config)


def _rules(num_blocks: int) -> list[tuple[str, str]]:
    last = _FIRST_BLOCK + num_blocks
    places = {rf"extras\.{index}": f"backbone.extras.{index}" for index in range(4)}
    places |= {rf"base_net\.{_FIRST_BLOCK + n}": f"backbone.features.{n + 1}" for n in range(num_blocks)}
    rules = [(r"base_net\.([01])\.(.+)", r"backbone.features.0.\1.\2")]
    rules += [(rf"base_net\.{last + n}\.(.+)", rf"backbone.features.{num_blocks + 1}.{n}.\1") for n in (0, 1)]
    for theirs, ours in places.items():
        rules += [(rf"{theirs}\.{layer}\.(.+)", rf"{ours}.{place}.\1") for layer, place in _LAYERS.items()]
        rules += [
            (rf"{theirs}\.se\.se\.(.+)", rf"{ours}.squeeze.weigh.\1"),
            (rf"{theirs}\.(shortcut\..+)", rf"{ours}.\1"),
        ]
    return [*rules, *LITE_HEADERS]


SOURCES = (
    Source(
        name="qfgaohao-mb3-large-lite",
        title="mb3-large-ssd-lite of qfgaohao/pytorch-ssd",
        marks=(r"base_net\.17\.bn3\.weight$", r"base_net\.19\.weight$", r"classification_headers\.0\.3\.weight$"),
        convert=partial(convert, 15, "interop/qfgaohao_mb3_large_ssd_lite_voc"),
    ),
    Source(
        name="qfgaohao-mb3-small-lite",
        title="mb3-small-ssd-lite of qfgaohao/pytorch-ssd",
        marks=(r"base_net\.13\.bn3\.weight$", r"base_net\.15\.weight$", r"classification_headers\.0\.3\.weight$"),
        convert=partial(convert, 11, "interop/qfgaohao_mb3_small_ssd_lite_voc"),
    ),
)
