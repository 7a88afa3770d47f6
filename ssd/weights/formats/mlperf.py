"""SSD300 with ResNet-34 of MLPerf Training's reference (ssd-v1), whose extra layers have biases and no batch norm."""

from collections.abc import Mapping
from typing import Any

from ssd.weights.formats.nvidia import EXTRAS_AND_HEADERS, labelled_classes, prior_major
from ssd.weights.formats.source import Converted, Source, StateDict, rename

_NAMES = (
    (r"model\.layer1\.0\.(.+)", r"backbone.conv1.\1"),
    (r"model\.layer1\.1\.(.+)", r"backbone.bn1.\1"),
    (r"model\.layer1\.4\.(.+)", r"backbone.layer1.\1"),
    (r"model\.layer1\.5\.(.+)", r"backbone.layer2.\1"),
    (r"model\.layer2\.0\.(.+)", r"backbone.layer3.\1"),
)


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of MLPerf.

    Raises:
        CheckpointError: a name is unexpected, or the channels of a header do not fit.
    """
    return Converted(
        rename(prior_major(weights), (*_NAMES, *EXTRAS_AND_HEADERS)),
        "interop/mlperf_ssd300_resnet34_coco",
        class_names=labelled_classes(content),
        notes=(
            "The network for 1200 pixels of MLPerf Inference (resnet34-ssd1200) has tensors of the same names and "
            "shapes, but headers of stride 3; if this file is of that network, what it detects here is meaningless.",
        ),
    )


SOURCE = Source(
    name="mlperf",
    title="MLPerf's SSD300 with ResNet-34",
    marks=(r"model\.layer1\.4\.0\.conv1\.weight$", r"additional_blocks\.0\.2\.bias$", r"conf\.0\.weight$"),
    convert=convert,
)
