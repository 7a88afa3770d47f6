"""A finer feature map that a backbone could give."""

from collections.abc import Sequence

from yacs.config import CfgNode

from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.stages import feature_shapes
from ssd.structures.size import height_width


def find_finer_index(cfg: CfgNode) -> tuple[Sequence[int], int | None]:
    """Look for a layer before the first of MODEL.BACKBONE.OUT_INDICES whose map is finer.

    Args:
        cfg: the configuration.

    Returns:
        The indices of the backbone as it is, empty if its maps are fixed; and the last layer whose map has more cells
        than the first of these, None if there is none.
    """
    size = height_width(cfg.INPUT.IMAGE_SIZE)
    backbone = build_backbone(cfg, pretrained=False)
    indices = list(getattr(backbone, "out_indices", ()))
    if not indices:
        return [], None
    # Only the maps' sizes count, which do not depend on the weights: the same network, asked for all of its layers.
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.OUT_INDICES = list(range(indices[0] + 1))
    cfg.MODEL.BACKBONE.OUT_CHANNELS = ()
    maps = [shape[1] for shape in feature_shapes(build_backbone(cfg, pretrained=False), size)][: indices[0] + 1]
    finer = [index for index in range(indices[0]) if maps[index] > maps[-1]]
    return indices, finer[-1] if finer else None
