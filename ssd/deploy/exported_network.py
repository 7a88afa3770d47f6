"""An exported network as Predictor calls one, whatever runs it.

B images, S_h and S_w the sides of the network input, K detections at most an image.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssd.data.transforms.batch import normalize
from ssd.deploy.metadata import Metadata, read_metadata
from ssd.modeling.anchors import BoxCoder
from ssd.modeling.box_head import PostProcessor
from ssd.modeling.box_head.post_processor import class_scores
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner


class ExportedNetwork:
    """Detects in batches of the network's size; subclasses run the file.

    Args:
        path: the exported file.
        metadata: its description; None = that of the side-car beside it.

    Raises:
        ExportError: one of them is missing or damaged, or they do not belong together.
    """

    def __init__(self, path: str | Path, metadata: Metadata | None = None):
        self.metadata = read_metadata(path) if metadata is None else metadata
        self.is_raw = self.metadata.kind == "raw"
        self._mean = torch.tensor(self.metadata.pixel_mean)[:, None, None]
        self._std = torch.tensor(self.metadata.pixel_std)[:, None, None]
        self._priors = torch.tensor(self.metadata.priors)
        self._box_coder = BoxCoder(self.metadata.center_variance, self.metadata.size_variance)
        self._post_processor = make_post_processor(self.metadata)

    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in a batch.

        Args:
            images: uint8 (B, 3, S_h, S_w) RGB, on the CPU.

        Returns:
            One Container an image, as of PostProcessor, on the CPU: boxes in pixels of the network input.
        """
        if self.is_raw:
            pixels = normalize(images.to(torch.float32), self._mean, self._std, None).contiguous()
            cls_logits, bbox_pred = map(torch.from_numpy, self.run(pixels.numpy()))
            boxes = center_to_corner(self._box_coder.decode(bbox_pred, self._priors))
            return self._post_processor(class_scores(cls_logits), boxes)
        pixels = images.permute(0, 2, 3, 1).contiguous()  # without a copy if `images` is in channels-last memory
        return self._split(*self.run(pixels.numpy()))

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Run the file.

        Args:
            inputs: uint8 (B, S_h, S_w, 3), or float32 (B, 3, S_h, S_w) of a raw file.

        Returns:
            Its outputs, in their order.
        """
        raise NotImplementedError

    def _split(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> list[Container]:
        """The detections (B, K) image by image, without the padding."""
        detections = []
        for image, count in enumerate(counts.tolist()):
            fields = {"boxes": boxes, "labels": labels, "scores": scores}
            found = Container(**{name: torch.from_numpy(field[image, :count]) for name, field in fields.items()})
            found.img_height, found.img_width = self.metadata.image_size
            detections.append(found)
        return detections


def make_post_processor(metadata: Metadata) -> PostProcessor:
    """Build the post-processing of a raw file."""
    return PostProcessor(
        metadata.image_size,
        score_threshold=metadata.score_threshold,
        nms_threshold=metadata.nms_threshold,
        pre_nms_top_k=metadata.pre_nms_top_k,
        max_per_class=metadata.max_per_class,
        max_per_image=metadata.max_per_image,
        clip=metadata.clip_boxes,
    )
