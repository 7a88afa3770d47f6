"""What a user would otherwise run: torchvision's SSD and its transforms for detection."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou
from torchvision.transforms import v2

from benchmarks.photos import NUM_BOXES, draw_boxes, photo_paths
from ssd.structures import Container

# The settings that lufficc/SSD and our configs test with. torchvision keeps 400 candidates a class before NMS.
_TEST_SETTINGS = {"score_thresh": 0.01, "nms_thresh": 0.45, "detections_per_img": 100}
_PIXEL_MEAN = (123, 117, 104)
_SSD300_MAPS = (38, 19, 10, 5, 3, 1)

_LEARNING_RATE = 1e-6  # however long a step is repeated, nothing diverges

Targets = list[dict[str, Tensor]]


def build_ssd300(num_classes: int = 21) -> nn.Module:
    """Build torchvision's SSD300 on VGG16."""
    detection = torchvision.models.detection
    return detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=num_classes, **_TEST_SETTINGS)


def build_ssdlite320(num_classes: int = 21) -> nn.Module:
    """Build torchvision's SSDLite320 on MobileNetV3; it has no MobileNetV2."""
    detection = torchvision.models.detection
    return detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_classes, **_TEST_SETTINGS
    )


def to_torchvision_targets(targets: Container, size: int) -> Targets:
    """Return the objects of each image in pixels, as torchvision's models take them."""
    return [
        {"boxes": boxes[labels > 0] * size, "labels": labels[labels > 0]}
        for boxes, labels in zip(targets["boxes"], targets["labels"], strict=True)
    ]


class TorchvisionStep:
    """Training steps of a torchvision detector with the paper's optimizer.

    Args:
        model: takes images from 0 to 1, which it normalises.
        device: trains there.
        bf16: forward pass in autocast.
    """

    def __init__(self, model: nn.Module, device: torch.device, *, bf16: bool = False):
        self.model = model.to(device).train()
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=_LEARNING_RATE, momentum=0.9, weight_decay=5e-4)
        self._bf16 = bf16

    def __call__(self, images: Sequence[Tensor], targets: Targets) -> None:
        """Take one step."""
        with torch.autocast(images[0].device.type, torch.bfloat16, enabled=self._bf16):
            losses = self.model(images, targets)
        self._optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self._optimizer.step()


def build_detector(predictions: tuple[Tensor, Tensor], device: torch.device) -> nn.Module:
    """Build torchvision's SSD300 for detection, whose head works as ever and returns ``predictions``.

    Args:
        predictions: logits (B, P, C) and offsets (B, P, 4).
        device: runs there.
    """
    cls_logits, bbox_pred = predictions
    outputs = {"cls_logits": cls_logits, "bbox_regression": bbox_pred}
    model = build_ssd300(cls_logits.shape[2]).to(device).eval()
    model.get_submodule("head").register_forward_hook(lambda *_: outputs)
    return model


@torch.inference_mode()
def detect(model: nn.Module, pixels: Tensor, *, bf16: bool = False) -> list[dict[str, Tensor]]:
    """Detect in uint8 images (B, 3, H, W); the results are on the CPU."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bf16):
        detections = model(list(pixels.float() / 255))
    return [{name: tensor.cpu() for name, tensor in image.items()} for image in detections]


class TorchvisionHead:
    """Matching, loss and post-processing of torchvision's SSD300, without its network.

    Args:
        device: of all tensors.
        num_classes: with background.
        batch_size: B.
    """

    def __init__(self, device: torch.device, num_classes: int, batch_size: int):
        self._model: Any = build_ssd300(num_classes).to(device)
        sizes = [(300, 300)] * batch_size
        maps = [torch.zeros(batch_size, 1, side, side, device=device) for side in _SSD300_MAPS]
        images = ImageList(torch.zeros(batch_size, 1, 300, 300, device=device), sizes)
        self._anchors = self._model.anchor_generator(images, maps)  # type: ignore[operator]  # mypy forgets the Any
        self._sizes = sizes

    def match(self, targets: Targets) -> list[Tensor]:
        """Return the object of each prior, (P,) an image."""
        return [
            self._model.proposal_matcher(box_iou(target["boxes"], anchors))
            for target, anchors in zip(targets, self._anchors, strict=True)
        ]

    def loss(self, cls_logits: Tensor, bbox_pred: Tensor, targets: Targets) -> Tensor:
        """Match and compute the sum of both losses: logits (B, P, C), offsets (B, P, 4)."""
        matched = self.match(targets)
        outputs = {"cls_logits": cls_logits, "bbox_regression": bbox_pred}
        return sum(self._model.compute_loss(targets, outputs, self._anchors, matched).values())

    @torch.inference_mode()
    def post_process(self, cls_logits: Tensor, bbox_pred: Tensor) -> list[dict[str, Tensor]]:
        """Turn predictions into detections."""
        outputs = {"cls_logits": cls_logits, "bbox_regression": bbox_pred}
        return self._model.postprocess_detections(outputs, self._anchors, self._sizes)


def make_augmentation(size: int) -> Callable[[Path, np.ndarray, np.ndarray], tuple[Tensor, dict[str, Tensor]]]:
    """Build torchvision's SSD augmentation, from a file and its boxes to a float image and boxes.

    The result is what torchvision's models take; they normalise it themselves.
    """
    augment = v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill=_PIXEL_MEAN),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.SanitizeBoundingBoxes(),
            v2.Resize((size, size)),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )

    def load(path: Path, boxes: np.ndarray, labels: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        with Image.open(path) as file:
            image = v2.functional.to_image(file.convert("RGB"))
        corners = tv_tensors.BoundingBoxes(boxes.astype(np.float32), format="XYXY", canvas_size=image.shape[1:])
        return augment(image, {"boxes": corners, "labels": torch.from_numpy(labels)})

    return load


class AugmentedPhotos(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """The rendered photographs through torchvision's augmentation, over and over.

    Args:
        root: the folder of the photographs.
        size: of the network input.
        length: of the dataset.
    """

    def __init__(self, root: Path, size: int, length: int):
        self._paths = photo_paths(root)
        self._augment = make_augmentation(size)
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        number = index % len(self._paths)
        return self._augment(self._paths[number], draw_boxes(number), np.arange(NUM_BOXES) % 20 + 1)


def collate(samples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, Targets]:
    """Return images (B, 3, S, S) and the targets of each."""
    images, targets = zip(*samples, strict=True)
    return torch.stack(images), list(targets)
