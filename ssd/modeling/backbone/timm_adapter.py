"""Any network of timm with features at strides 8, 16 and 32, and extra layers: MODEL.BACKBONE.NAME ``timm/<name>``.

``<name>`` is that of ``timm.create_model``, with or without a tag of weights: ``timm/resnet18.a1_in1k``.
INPUT.PIXEL_MEAN and INPUT.PIXEL_STD are 255 times the values of ``timm.get_pretrained_cfg(name)``.
"""

import difflib
import logging
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import cells_after, extra_block
from ssd.modeling.backbone.pretrained import StateDict, load_pretrained
from ssd.modeling.backbone.stages import feature_shapes
from ssd.structures.boxes import height_width
from ssd.utils.checkpoint_file import load_model_weights
from ssd.utils.errors import ConfigError, DownloadError, import_extra

logger = logging.getLogger(__name__)

STRIDES = (8, 16, 32)


class TimmBackbone(nn.Module):
    """A network of ``timm.create_model(..., features_only=True)`` and extra layers down to one cell."""

    def __init__(self, network: nn.Module, image_size: tuple[int, int]):
        super().__init__()
        self.network = network
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.levels = _levels(network.feature_info.reduction())  # type: ignore[union-attr, operator]
        coarsest = feature_shapes(network, image_size)[self.levels[-1]]
        channels, cells = (coarsest[2], coarsest[:2]) if self.channels_last else (coarsest[0], coarsest[1:])
        self.extras = _extra_layers(channels, min(cells))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the network's maps at strides 8, 16 and 32 and the extra maps."""
        outputs = self.network(images)
        features = [outputs[level] for level in self.levels]
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2).contiguous() for feature in features]
        for block in self.extras:
            features.append(block(features[-1]))
        return tuple(features)

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps."""
        del self.extras[count - len(self.levels) :]

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers up to each of the network's feature maps, whatever their strides."""
        info: Any = self.network.feature_info
        ends = [name.replace(".", "_") for name in info.module_name()]
        layers: dict[str, nn.Module] = {}
        for name, layer in self.network.named_children():
            if name not in ends and any(end.startswith(f"{name}_") for end in ends):  # several maps, such as ``blocks``
                layers |= {f"{name}_{child}": module for child, module in layer.named_children()}
            else:
                layers[name] = layer
        if not set(ends) <= set(layers):
            raise ConfigError(
                "MODEL.BACKBONE.FREEZE_STAGES: the layers of this network of timm are not in one row; set it to 0"
            )
        stages: list[list[nn.Module]] = [[]]
        for name, layer in layers.items():
            stages[-1].append(layer)
            if name in ends:
                stages.append([])
        return stages[:-1]


def _levels(strides: list[int]) -> list[int]:
    """Return the index of the last output of the network at each of STRIDES."""
    last = {stride: level for level, stride in enumerate(strides)}
    if any(stride not in last for stride in STRIDES):
        raise ConfigError(
            f"the network of MODEL.BACKBONE.NAME has features at strides {strides}, but 8, 16 and 32 are needed; "
            "take a convolutional or hierarchical one, such as timm/resnet18 or timm/convnext_atto"
        )
    return [last[stride] for stride in STRIDES]


def _extra_layers(in_channels: int, cells: int) -> nn.ModuleList:
    """Build blocks that halve the map, and take it from 3 cells to 1 as in SSD300; channels as in SSD300 and SSD512."""
    blocks = nn.ModuleList()
    out_channels = 512
    while cells > 1:
        stride, padding = (1, 0) if cells == 3 else (2, 1)
        blocks.append(extra_block(in_channels, out_channels // 2, out_channels, stride=stride, padding=padding))
        cells = cells_after(cells, stride=stride, padding=padding)
        in_channels, out_channels = out_channels, 256
    return blocks


@registry.BACKBONES.register("timm/*")
def timm_backbone(cfg: CfgNode, pretrained: bool | str = True) -> TimmBackbone:
    """Build the network of MODEL.BACKBONE.NAME; weights (True = those of timm) fill all but the extra layers."""
    timm = import_extra("timm", "timm")
    name = cfg.MODEL.BACKBONE.NAME.removeprefix("timm/")
    published = _published(timm, name)
    image_size = height_width(cfg.INPUT.IMAGE_SIZE)
    # Networks that lay out their windows when they are built (Swin) must be told the size; others do not take it.
    kwargs = {"img_size": image_size} if published.fixed_input_size else {}
    try:  # timm asserts its requirements of the size, here or when the network runs
        network = timm.create_model(name, features_only=True, **kwargs)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME timm/{name} has no feature maps for INPUT.IMAGE_SIZE {image_size}: {error}"
        ) from error
    model = TimmBackbone(network, image_size)
    if isinstance(pretrained, str):
        # The classifier, and layers that lead to it, have names that differ from network to network.
        load_pretrained(network, pretrained, convert=partial(_to_feature_names, network), unused=[".*"])
    elif pretrained:
        if not published.has_weights:
            raise ConfigError(
                f"timm has no weights for {name}: set MODEL.BACKBONE.PRETRAINED False, or to a path or URL"
            )
        _load_published(timm, network, name, kwargs)
        _check_normalisation(cfg, published)
    return model


def _published(timm: ModuleType, name: str) -> Any:
    """Return timm's description of the weights of a network: their place, and the input that they expect."""
    if timm.is_model(name):
        try:
            return timm.get_pretrained_cfg(name)
        except RuntimeError as error:
            tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*"))
            raise ConfigError(f"MODEL.BACKBONE.NAME timm/{name}: {error} There are {tags}") from error
    close = difflib.get_close_matches(name, timm.list_models(), n=1)
    hint = f"did you mean timm/{close[0]}?" if close else "timm.list_models() lists all"
    raise ConfigError(f"MODEL.BACKBONE.NAME timm/{name}: timm {timm.__version__} has no such network; {hint}")


def _load_published(timm: ModuleType, network: nn.Module, name: str, kwargs: dict[str, Any]) -> None:
    """Load the weights through the whole classifier, for which timm checks them; for a feature network it does not."""
    try:
        whole = timm.create_model(name, pretrained=True, **kwargs)
    except OSError as error:
        raise DownloadError(f"timm cannot fetch the weights of {name}: {error}") from error
    needed = network.state_dict()
    weights = _to_feature_names(network, whole.state_dict())
    load_model_weights(network, {key: value for key, value in weights.items() if key in needed}, f"timm/{name}")
    logger.info("Loaded the weights that timm publishes for %s", name)


def _to_feature_names(network: nn.Module, weights: StateDict) -> StateDict:
    """Rename the weights of a whole network to those of its feature network; other names stay."""
    names = {name.removeprefix("model.").replace(".", "_"): name for name in network.state_dict()}
    return {names.get(name.replace(".", "_"), name): value for name, value in weights.items()}


def _check_normalisation(cfg: CfgNode, published: Any) -> None:
    for key, values in (("PIXEL_MEAN", published.mean), ("PIXEL_STD", published.std)):
        expected, got = [round(255 * value, 3) for value in values], cfg.INPUT[key]
        if any(abs(value - wanted) > 1 for value, wanted in zip(got, expected, strict=True)):
            message = "INPUT.%s is %s, but the weights of %s expect %s"
            logger.warning(message, key, got, cfg.MODEL.BACKBONE.NAME, expected)
