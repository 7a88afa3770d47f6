"""What the loaders and the evaluation expect of a dataset, whoever wrote it."""

from typing import Any, Protocol

import numpy as np

from ssd.structures import Container

# RGB uint8 (H, W, 3); Container(boxes float32 (G, 4) corner form in pixels, labels int64 (G,)); the sample's index.
Sample = tuple[np.ndarray, Container, int]


class DetectionDataset(Protocol):
    """A map-style dataset of untransformed images and boxes.

    Attributes:
        class_names: index = label; the first is ``"__background__"``.
        metric: how it is evaluated unless the user says otherwise: "voc07", "voc" or "coco".
    """

    class_names: tuple[str, ...]
    metric: str

    def __len__(self) -> int:
        """Return the number of images, those without objects included."""

    def __getitem__(self, index: int) -> Sample:
        """Return (image, Container(boxes, labels), index)."""

    def get_annotation(self, index: int) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return (image id, (boxes, labels, ...)), the ground truth that evaluation sees."""

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return at least ``height`` and ``width`` in pixels."""
