"""Augmentation: geometry on the host, one warp an image; colours and normalisation on the device, by the batch."""

from ssd.data.transforms.batch import BatchTransform, make_batch_transform

__all__ = ["BatchTransform", "make_batch_transform"]
