"""Priors, box coding and matching."""

from ssd.modeling.anchors.box_coder import BoxCoder
from ssd.modeling.anchors.matcher import Assignment, IoUMatcher, match_priors
from ssd.modeling.anchors.prior_box import PriorBox

__all__ = ["Assignment", "BoxCoder", "IoUMatcher", "PriorBox", "match_priors"]
