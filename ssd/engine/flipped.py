"""Test-time augmentation: the detections of an image and its mirror image together. B images, P priors."""

import copy

import torch
from torch import Tensor

from ssd.modeling.box_head import Predictions
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container


class FlippedDetector(SSDDetector):
    """A trained detector that also looks at each image mirrored; one NMS serves both. It takes twice the time."""

    def __init__(self, detector: SSDDetector):
        box_head = copy.deepcopy(detector.box_head)
        mirror = box_head.priors.new_tensor([-1, 1, 1, 1])
        mirrored = box_head.priors * mirror + (mirror < 0)  # 1 - cx
        box_head.priors = torch.cat([box_head.priors, mirrored])
        super().__init__(detector.backbone, detector.neck, box_head)
        self.eval()

    def forward(self, images: Tensor, targets: Container | None = None) -> list[Container]:
        """Detect in normalised images (B, 3, H, W)."""
        return self.box_head.detect(self.predict(images))

    def predict(self, images: Tensor) -> Predictions:
        """Return the predictions at P priors and at their P mirror images, where those of the mirrored image belong."""
        cls_logits, bbox_pred = super().predict(torch.cat([images, images.flip(3)]))
        bbox_pred, mirrored = bbox_pred.chunk(2)
        mirrored = torch.cat([-mirrored[..., :1], mirrored[..., 1:]], dim=2)
        bbox_pred = torch.cat([bbox_pred, mirrored], dim=1)  # (B, 2 P, 4)
        return Predictions(torch.cat(cls_logits.chunk(2), dim=1), bbox_pred)
