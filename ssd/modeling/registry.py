"""The parts that a config selects by name.

Contracts:

- ``BACKBONES``: ``factory(cfg, pretrained) -> nn.Module`` whose forward maps images (B, 3, H, W) to a tuple of feature
  maps (B, C_l, H_l, W_l), finest first. ``pretrained`` is True, False, or the path or URL of a weights file.
- ``BOX_HEADS``: ``factory(cfg) -> nn.Module``; ``head(features, targets)`` returns a dict of losses in training mode
  and a list of Containers in evaluation mode. ``cfg`` comes with OUT_CHANNELS, FEATURE_MAPS, STRIDES and
  BOXES_PER_LOCATION filled in.
- ``BOX_PREDICTORS``: ``factory(cfg) -> nn.Module`` that maps features to ``cls_logits`` (B, P, C) and ``bbox_pred``
  (B, P, 4), priors in the order of PriorBox.
"""

from ssd.utils.registry import Registry

BACKBONES = Registry("backbone")
BOX_HEADS = Registry("box head")
BOX_PREDICTORS = Registry("box predictor")
