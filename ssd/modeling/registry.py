"""The parts that a config selects by name. Registration adds a part; docs/extending.md has an example of each.

The library's own backbones and shared predictors are imported when a name is looked up.

- ``BACKBONES``: ``factory(cfg, pretrained) -> nn.Module``, which maps images (B, 3, H, W) to a tuple of feature maps
  (B, C_l, H_l, W_l), the finest first. ``pretrained`` is a bool, or the path or URL of a file of weights. A network
  with ``freezable_stages()`` can be frozen (see backbone/stages.py); one with the attribute ``out_indices`` follows
  MODEL.BACKBONE.OUT_INDICES.
- ``BOX_HEADS``: a class with the keyword arguments and the methods of SSDBoxHead: ``predict``, ``losses``, ``detect``.
- ``BOX_PREDICTORS``: a class with the keyword arguments of BoxPredictor that maps features to ``cls_logits`` (B, P, C)
  and ``bbox_pred`` (B, P, 4), priors in the order of PriorBox. The last convolution of every module of its
  ``cls_headers`` gives the class scores, as (prior of the cell, class), with a bias; that of ``reg_headers`` is at the
  same place. Transfer to other classes relies on it.
- ``META_ARCHITECTURES``: a class with the arguments of SSDDetector.

A head or predictor that wants the whole config has a class method ``from_config(cfg, levels)``, which is called instead
of its constructor; ``levels`` is the Levels of the detector.
"""

from ssd.utils.registry import Registry

_FAMILIES = (
    *("vgg", "mobilenetv2", "mobilenet", "mobilenetv3", "mobilenetv3_qfgaohao", "efficient_net", "resnet"),
    *("resnet10", "ultralight", "squeezenet", "tiny", "timm_adapter", "mobilenet_tensorflow"),
)

BACKBONES = Registry("backbone", modules=[f"ssd.modeling.backbone.{family}" for family in _FAMILIES])
BOX_HEADS = Registry("box head")
BOX_PREDICTORS = Registry("box predictor", modules=["ssd.modeling.box_head.shared_predictor"])
META_ARCHITECTURES = Registry("meta architecture")
