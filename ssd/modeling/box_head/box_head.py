"""The SSD head: predictor, and either loss or post-processing."""

from collections.abc import Sequence

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.anchors import PriorBox
from ssd.modeling.box_head.loss import MultiBoxLoss
from ssd.modeling.box_head.post_processor import PostProcessor
from ssd.modeling.box_head.target_assigner import TargetAssigner
from ssd.structures import Container


@registry.BOX_HEADS.register("SSDBoxHead")
class SSDBoxHead(nn.Module):
    """Predicts class scores and box offsets at every prior (SSD, Sec. 2.1).

    Args:
        cfg: reads MODEL, INPUT.IMAGE_SIZE and TEST; the four derived lists must be filled in.
    """

    priors: Tensor  # (P, 4) centre form relative to the image

    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.predictor = registry.BOX_PREDICTORS[cfg.MODEL.BOX_HEAD.PREDICTOR](cfg)
        self.assign_targets = TargetAssigner(cfg)
        self.loss = MultiBoxLoss(cfg.MODEL.NEG_POS_RATIO)
        self.post_process = PostProcessor(cfg)
        self.prior_box = PriorBox(cfg)
        self.register_buffer("priors", self.prior_box(), persistent=False)

    def forward(
        self, features: Sequence[Tensor], targets: Container | None = None
    ) -> dict[str, Tensor] | list[Container]:
        """Predict, then compare with the targets (training) or turn into detections (evaluation).

        Args:
            features: one map (B, C_l, H_l, W_l) a level.
            targets: needed in training: ``boxes`` (B, G, 4) corner form relative to the image, ``labels`` (B, G) int64
                with 0 for padding.

        Returns:
            Training: {"reg_loss", "cls_loss"}, scalars. Evaluation: one Container an image, see PostProcessor.
        """
        cls_logits, bbox_pred = self.predictor(features)
        if self.training:
            assert targets is not None, "a detector in training mode needs targets; call eval() to detect"
            labels, bbox_targets = self.assign_targets(targets, self.priors)
            return self.loss(cls_logits, bbox_pred, labels, bbox_targets)
        return self.post_process(cls_logits, bbox_pred, self.priors)
