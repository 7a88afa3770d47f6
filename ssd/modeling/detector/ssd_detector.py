"""The detector in two lines: features, then what the head makes of them."""

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.stages import freeze_stages
from ssd.modeling.box_head import build_box_head
from ssd.modeling.detector.levels import fill_in_levels, log_levels
from ssd.structures import Container


class SSDDetector(nn.Module):
    """Single Shot MultiBox Detector (Liu et al., ECCV 2016, arXiv:1512.02325).

    Args:
        cfg: the configuration; what depends on the backbone may be left empty.

    Raises:
        ConfigError: keys contradict each other or the backbone.
    """

    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.backbone = build_backbone(cfg)
        cfg = fill_in_levels(cfg, self.backbone)
        log_levels(cfg.MODEL.PRIORS)
        self.box_head = build_box_head(cfg)
        self.frozen = freeze_stages(self.backbone, cfg.MODEL.BACKBONE.FREEZE_STAGES, cfg.MODEL.BACKBONE.NAME)

    def forward(self, images: Tensor, targets: Container | None = None) -> dict[str, Tensor] | list[Container]:
        """Train on or detect in a batch.

        Args:
            images: (B, 3, H, W) float, normalised; H and W as INPUT.IMAGE_SIZE.
            targets: needed in training, see SSDBoxHead.

        Returns:
            Training mode: a dict of scalar losses. Evaluation mode: one Container of detections an image.
        """
        features = self.backbone(images)
        return self.box_head(features, targets)

    def train(self, mode: bool = True) -> "SSDDetector":
        """Switch between training and evaluation mode; frozen layers stay in the latter."""
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self
