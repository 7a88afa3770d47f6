"""Priors of a config, read from it and written into another."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.config.files import BASE_KEY, base_text
from ssd.modeling.backbone import build_backbone
from ssd.modeling.detector.levels import Levels, build_levels, make_prior_box
from ssd.modeling.neck import build_neck
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import write_text


class PriorSizes(NamedTuple):
    """MIN_SIZES, MAX_SIZES and ASPECT_RATIOS of MODEL.PRIORS; the ratios of a level are numbers or pairs."""

    min_sizes: list[float]
    max_sizes: list[float]
    aspect_ratios: list[list[Any]]


@dataclass(frozen=True)
class Layout:
    """Priors as the network has them."""

    levels: Levels
    sizes: PriorSizes
    clips_sizes: bool  # whether priors are clipped to the size of the image
    iou_threshold: float  # MODEL.THRESHOLD
    priors: Tensor  # (P, 4) centre form relative to the image

    @property
    def level_sizes(self) -> list[int]:
        """Number of priors of each level."""
        maps = zip(self.levels.feature_maps, self.levels.boxes_per_location, strict=True)
        return [math.prod(cells) * boxes for cells, boxes in maps]

    @property
    def pixel_strides(self) -> list[float]:
        """Stride of each level as one number, the geometric mean of both directions."""
        return [math.sqrt(y * x) for y, x in self.levels.strides]

    def centers(self, level: int) -> tuple[Tensor, Tensor]:
        """Return x (columns,) and y (rows,) of the centres of a level, relative to the image."""
        grid = self.priors.split(self.level_sizes)[level].view(*self.levels.feature_maps[level], -1, 4)
        return grid[0, :, 0, 0], grid[:, 0, 0, 1]


def make_layout(cfg: CfgNode) -> Layout:
    """Lay out the priors of a config; no weights are loaded."""
    backbone, priors = build_backbone(cfg, pretrained=False), cfg.MODEL.PRIORS
    levels = build_levels(cfg, nn.Sequential(backbone, build_neck(cfg, backbone)))
    ratios = [list(level) for level in priors.ASPECT_RATIOS]
    sizes = PriorSizes(list(priors.MIN_SIZES), list(priors.MAX_SIZES), ratios)
    return Layout(levels, sizes, bool(priors.CLIP), cfg.MODEL.THRESHOLD, make_prior_box(cfg, levels)())


def with_sizes(cfg: CfgNode, sizes: PriorSizes) -> CfgNode:
    """Return a frozen copy of a config with priors of other sizes, for the same number of levels."""
    cfg = cfg.clone()
    cfg.defrost()
    priors = cfg.MODEL.PRIORS
    priors.MIN_SIZES, priors.MAX_SIZES = ([int(x) if x == int(x) else x for x in level] for level in sizes[:2])
    priors.ASPECT_RATIOS = sizes.aspect_ratios
    if priors.BOXES_PER_LOCATION:
        priors.BOXES_PER_LOCATION = [2 + 2 * len(ratios) for ratios in sizes.aspect_ratios]
    cfg.freeze()
    return cfg


def write_derived(cfg: CfgNode, keys: Iterable[str], base: Path, target: Path, title: str) -> None:
    """Write a config that derives from ``base``, with the priors and other keys of ``cfg``, below a title of lines."""
    tree: dict[str, Any] = {}
    names = ["MIN_SIZES", "MAX_SIZES", "ASPECT_RATIOS"]
    names += ["BOXES_PER_LOCATION"] if cfg.MODEL.PRIORS.BOXES_PER_LOCATION else []
    for key in [*keys, *(f"MODEL.PRIORS.{name}" for name in names)]:
        value, node = cfg, tree
        *groups, last = key.split(".")
        for group in groups:
            value, node = value[group], node.setdefault(group, {})
        node[last] = _plain(value[last])
    text = "".join(f"# {line}".rstrip() + "\n" for line in title.splitlines())
    text += yaml.safe_dump({BASE_KEY: base_text(base, target)}, allow_unicode=True, width=2**20)
    text += yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    with os_errors_as(OutputError, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)


def _plain(value: Any) -> Any:
    """Return a value that YAML writes without tags: no tuples, no nodes."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
