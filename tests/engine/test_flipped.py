"""Detection in images and mirror images together."""

import torch

from ssd.engine.flipped import FlippedDetector
from ssd.structures.boxes import center_to_corner
from tests.tiny import tiny_detector


@torch.no_grad()
def test_a_mirrored_image_gives_mirrored_detections() -> None:
    """Also where strides do not divide the image, so that the priors are not symmetric themselves."""
    torch.manual_seed(0)
    detector = tiny_detector("INPUT.IMAGE_SIZE", (96, 104)).eval()
    for header in [*detector.box_head.predictor.cls_headers, *detector.box_head.predictor.reg_headers]:
        torch.nn.init.normal_(header.weight, std=0.1)
        torch.nn.init.zeros_(header.bias)
    flipped = FlippedDetector(detector)
    images = torch.randn(2, 3, 96, 104)
    predictions, own = flipped.predict(images), detector.predict(images)
    num_priors = own.cls_logits.shape[1]
    torch.testing.assert_close(predictions.cls_logits[:, :num_priors], own.cls_logits)
    mirrored = detector.predict(images.flip(3))
    boxes = center_to_corner(detector.box_head.box_coder.decode(mirrored.bbox_pred, detector.box_head.priors))
    decoded = center_to_corner(flipped.box_head.box_coder.decode(predictions.bbox_pred, flipped.box_head.priors))
    expected = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], dim=2)
    torch.testing.assert_close(decoded[:, num_priors:], expected, rtol=1e-4, atol=1e-5)

    for found, other in zip(flipped(images), flipped(images.flip(3)), strict=True):
        assert len(found["scores"]) > 5
        torch.testing.assert_close(found["scores"], other["scores"], rtol=1e-4, atol=1e-5)
        x1, y1, x2, y2 = other["boxes"].unbind(1)
        torch.testing.assert_close(found["boxes"], torch.stack([104 - x2, y1, 104 - x1, y2], 1), rtol=1e-4, atol=1e-2)
