"""From ground-truth boxes to what every prior should predict."""

import torch
from torch import Tensor
from yacs.config import CfgNode

from ssd.modeling.anchors import encode_boxes, match_priors
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, corner_to_center


class TargetAssigner:
    """Matches ground truth to priors and encodes it, for a whole batch on its device.

    Args:
        cfg: reads MODEL.THRESHOLD, CENTER_VARIANCE and SIZE_VARIANCE.
    """

    def __init__(self, cfg: CfgNode):
        self.iou_threshold = cfg.MODEL.THRESHOLD
        self.center_variance = cfg.MODEL.CENTER_VARIANCE
        self.size_variance = cfg.MODEL.SIZE_VARIANCE

    @torch.no_grad()
    def __call__(self, targets: Container, priors: Tensor) -> tuple[Tensor, Tensor]:
        """Assign a class and a box to every prior.

        Args:
            targets: ``boxes`` (B, G, 4) corner form relative to the image, ``labels`` (B, G) int64, 0 = padding.
            priors: (P, 4) centre form relative to the image.

        Returns:
            labels: (B, P) int64, 0 = background.
            bbox_targets: (B, P, 4) encoded offsets; zero for background priors.
        """
        gt_boxes, gt_labels = targets["boxes"], targets["labels"]
        labels, gt_index = match_priors(gt_boxes, gt_labels, center_to_corner(priors), self.iou_threshold)
        # One look-up for all: rows of objects first, then those of priors, as a prior's own offset is zero.
        boxes = torch.cat([corner_to_center(gt_boxes).flatten(0, 1), priors])  # (B * G + P, 4)
        num_images, num_gts = gt_labels.shape
        gt_row = gt_index + torch.arange(num_images, device=priors.device)[:, None] * num_gts  # (B, P)
        prior_row = torch.arange(len(priors), device=priors.device) + num_images * num_gts
        rows = torch.where(labels > 0, gt_row, prior_row)
        boxes = boxes.index_select(0, rows.flatten()).view(*rows.shape, 4)
        return labels, encode_boxes(boxes, priors, self.center_variance, self.size_variance)
