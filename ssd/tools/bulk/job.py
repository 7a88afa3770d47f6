"""What one job is: which images, which detector, how. Two runs of the same job continue each other."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.config import Config

# So many parts let as many processes share a small listing evenly; beyond, parts are of the largest size, which bounds
# what a killed process has done in vain, and which a batch of any GPU divides into many.
_MIN_PARTS, _MIN_PART_SIZE, _MAX_PART_SIZE = 64, 32, 1000


@dataclass(frozen=True)
class Job:
    """All that the content of the parts depends on, but for rounding.

    Attributes:
        listing: SHA-256 of the paths and addresses of the images.
        num_images: how many they are.
        detector: SHA-256 of weights and configuration.
        class_names: index = label, background first.
        score_threshold: see ``Predictor.predict``.
        tile: likewise.
        format: a key of ``FORMATS``.
        part_size: number of images in a part.
    """

    listing: str
    num_images: int
    detector: str
    class_names: tuple[str, ...]
    score_threshold: float
    tile: int | bool | None
    format: str
    part_size: int

    @property
    def num_parts(self) -> int:
        """How many parts there are; all are full but the last."""
        return math.ceil(self.num_images / self.part_size)

    def images_of(self, part: int) -> range:
        """Return the numbers of the images of a part."""
        start = part * self.part_size
        return range(start, min(start + self.part_size, self.num_images))


def default_part_size(num_images: int) -> int:
    """Return how many images a part has: a function of the listing alone, whatever shares it."""
    return min(max(math.ceil(num_images / _MIN_PARTS), _MIN_PART_SIZE), _MAX_PART_SIZE)


def digest_listing(files: Sequence[str]) -> str:
    """Return the SHA-256 of a listing."""
    return hashlib.sha256(b"\0".join(os.fsencode(file) for file in files)).hexdigest()


def make_detector_digest(cfg: Config, weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a detector: of what its configuration says of it, but for the device, and its weights."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = ""
    digest = hashlib.sha256("".join(cfg[name].dump() for name in ("MODEL", "INPUT", "TEST")).encode())
    for name, tensor in weights.items():
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
