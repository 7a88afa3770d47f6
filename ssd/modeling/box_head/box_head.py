"""The SSD head: predictions at every prior, and losses or detections from them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssd.modeling import registry
from ssd.modeling.anchors import BoxCoder, IoUMatcher, PriorBox
from ssd.modeling.box_head.box_predictor import Predictions, class_scores
from ssd.modeling.box_head.loss import LossSums, MultiBoxLoss
from ssd.modeling.box_head.post_processor import PostProcessor
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner


@registry.BOX_HEADS.register("SSDBoxHead")
class SSDBoxHead(nn.Module):
    """Predict class scores and box offsets at every prior (SSD, Sec. 2.1)."""

    priors: Tensor  # (P, 4) centre form relative to the image

    def __init__(
        self,
        *,
        predictor: nn.Module,
        prior_box: PriorBox,
        box_coder: BoxCoder,
        matcher: IoUMatcher,
        loss: MultiBoxLoss,
        post_processor: PostProcessor,
        score_function: str = "softmax",
    ):
        super().__init__()
        self.predictor = predictor
        self.prior_box = prior_box
        self.box_coder = box_coder
        self.matcher = matcher
        self.loss = loss
        self.post_processor = post_processor
        self.score_function = score_function
        self.register_buffer("priors", prior_box(), persistent=False)

    def predict(self, features: Sequence[Tensor]) -> Predictions:
        """Predict at every prior, in float32 also under autocast, from one map (B, C_l, H_l, W_l) for each level."""
        outputs = self.predictor(features)
        return Predictions(*(output.to(torch.promote_types(output.dtype, torch.float32)) for output in outputs))

    def losses(self, predictions: Predictions, targets: Container) -> LossSums:
        """Compare predictions with the boxes (B, G, 4) and labels (B, G) of targets.

        Boxes are in corner form relative to the image; labels are int64, 0 = padding.
        """
        return self.loss(predictions, self.matcher(targets, self.priors))

    def detect(self, predictions: Predictions) -> list[Container]:
        """Turn predictions into detections, one Container for each image; see PostProcessor."""
        boxes = center_to_corner(self.box_coder.decode(predictions.bbox_pred, self.priors))
        return self.post_processor(class_scores(predictions.cls_logits, self.score_function), boxes)

    def forward(
        self, features: Sequence[Tensor], targets: Container | None = None
    ) -> dict[str, Tensor] | list[Container]:
        """Return scalar losses by name in training mode, detections in evaluation mode."""
        predictions = self.predict(features)
        if not self.training:
            return self.detect(predictions)
        assert targets is not None, "a detector in training mode needs targets; call eval() to detect"
        return self.losses(predictions, targets).normalized()
