"""The parts that a config selects by name.

Contracts:

- ``BACKBONES``: ``factory(cfg, pretrained) -> nn.Module`` whose forward maps images (B, 3, H, W) to a tuple of feature
  maps (B, C_l, H_l, W_l), finest first. ``pretrained`` is True, False, or the path or URL of a weights file. A network
  with ``freezable_stages()`` can be frozen (see backbone/stages.py), one with the attribute ``out_indices`` follows
  MODEL.BACKBONE.OUT_INDICES.
- ``BOX_HEADS``: ``factory(cfg) -> nn.Module``; ``head(features, targets)`` returns a dict of losses in training mode
  and a list of Containers in evaluation mode. ``cfg`` comes with OUT_CHANNELS, FEATURE_MAPS, STRIDES and
  BOXES_PER_LOCATION filled in.
- ``BOX_PREDICTORS``: ``factory(cfg) -> nn.Module`` that maps features to ``cls_logits`` (B, P, C) and ``bbox_pred``
  (B, P, 4), priors in the order of PriorBox. The last convolution of every module of its ``cls_headers`` gives the
  class scores, as (prior of the cell, class), with a bias; that of ``reg_headers`` has the same place. Transfer to
  other classes counts on it.
"""

from ssd.utils.registry import Registry

BACKBONES = Registry("backbone")
BOX_HEADS = Registry("box head")
BOX_PREDICTORS = Registry("box predictor")
