"""lufficc/SSD, ``{"model", "optimizer", ...}``: its names and layouts are ours, so weights stay as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.headers import count_classes
from ssd.weights.formats.lufficc_settings import differences
from ssd.weights.formats.source import Converted, Source, StateDict
from ssd.weights.formats.target import Target

# A tensor that each of its networks has and those below it have not, and the config.
_NETWORKS = {
    "backbone.extras.9.weight": "vgg_ssd512_voc0712",
    "backbone.l2_norm.weight": "vgg_ssd300_voc0712",
    "backbone.features.18.0.weight": "mobilenet_v2_ssd320_voc0712",
    "backbone.features.16.0.weight": "mobilenet_v3_ssd320_voc0712",
    "backbone._blocks.25._project_conv.weight": "efficient_net_b3_ssd300_voc0712",
}
_COCO_CONFIGS = {
    "vgg_ssd300_voc0712": "vgg_ssd300_coco_trainval35k",
    "vgg_ssd512_voc0712": "vgg_ssd512_coco_trainval35k",
}


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Find the config of a detector of lufficc/SSD.

    Raises:
        CheckpointError: the weights are of another network, or the headers of the first level are missing or do not go
            together.
    """
    config = _config(weights)
    num_classes = count_classes(weights)
    if num_classes == 81:
        config = _COCO_CONFIGS.get(config, config)
    notes = () if num_classes in (21, 81) else (f"The priors are taken for those of {config}; see MODEL.PRIORS.",)
    return Converted(dict(weights), config, notes=notes)


def restore(weights: StateDict, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the weights as a checkpoint that lufficc/SSD reads.

    Args:
        weights: of a network that it has, in our names, which are its.
        class_names: not in such a file.

    Raises:
        CheckpointError: they are of another network.
    """
    _config(weights)
    return {"model": dict(weights)}


def _config(weights: StateDict) -> str:
    for name, config in _NETWORKS.items():
        if name in weights:
            return config
    raise CheckpointError(
        "lufficc/SSD has VGG16, MobileNetV2, MobileNetV3 large and EfficientNet-B3, and these weights are of another "
        "network"
    )


SOURCE = Source(
    name="lufficc",
    title="lufficc/SSD",
    marks=(
        r"backbone\.(l2_norm|features\.18\.0|features\.16\.0|_blocks\.25\._project_conv)\.weight$",
        r"box_head\.predictor\.cls_headers\.0\..*bias$",
    ),
    convert=convert,
)
TARGET = Target("lufficc", "lufficc/SSD", restore, differences)
