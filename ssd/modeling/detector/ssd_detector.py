"""The detector: backbone, neck and box head (SSD, Liu et al., ECCV 2016, arXiv:1512.02325)."""

from collections.abc import Sequence

from torch import Tensor, nn

from ssd.modeling import registry
from ssd.modeling.box_head import Predictions, SSDBoxHead
from ssd.structures import Container


@registry.META_ARCHITECTURES.register("SSDDetector")
class SSDDetector(nn.Module):
    """Single Shot MultiBox Detector.

    The backbone maps images to feature maps (B, C_l, H_l, W_l), the finest first, the neck these to those of the head.
    Layers in ``frozen`` stay in evaluation mode, so that their batch norms keep their statistics.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, box_head: SSDBoxHead, frozen: Sequence[nn.Module] = ()):
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.box_head = box_head
        self._frozen = list(frozen)

    def forward(self, images: Tensor, targets: Container | None = None) -> dict[str, Tensor] | list[Container]:
        """Return scalar losses by name in training mode, one Container of detections for each image otherwise.

        ``images`` (B, 3, H, W) are normalised, of INPUT.IMAGE_SIZE; on ``targets`` see SSDBoxHead.losses.
        """
        return self.box_head(self.neck(self.backbone(images)), targets)

    def predict(self, images: Tensor) -> Predictions:
        """Return the raw predictions at every prior, in either mode."""
        return self.box_head.predict(self.neck(self.backbone(images)))

    def train(self, mode: bool = True) -> "SSDDetector":
        """Switch between training and evaluation mode; frozen layers stay in the latter."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self
