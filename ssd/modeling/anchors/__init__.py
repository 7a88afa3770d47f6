"""Priors: where they lie, how boxes are encoded against them, which object each one is matched to."""

from ssd.modeling.anchors.box_coder import decode_boxes, encode_boxes
from ssd.modeling.anchors.matcher import match_priors
from ssd.modeling.anchors.prior_box import PriorBox

__all__ = ["PriorBox", "decode_boxes", "encode_boxes", "match_priors"]
