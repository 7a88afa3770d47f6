"""Datasets, augmentation and loaders: from annotation files to batches on the device."""

from ssd.data.build import build_datasets, make_test_loader, make_train_loader
from ssd.data.transforms import make_batch_transform

__all__ = ["build_datasets", "make_batch_transform", "make_test_loader", "make_train_loader"]
