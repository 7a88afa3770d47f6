"""Augmentation: geometry on the host, one warp per image; colours and normalisation on the device, per batch."""

from ssd.data.transforms.batch import BatchTransform, make_batch_transform

__all__ = ["BatchTransform", "make_batch_transform"]
