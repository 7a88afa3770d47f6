"""Fingerprint of a dataset, to see whether it changed."""

import hashlib

import numpy as np

from ssd.data.datasets import ArrayDataset, DetectionDataset


def fingerprint(dataset: DetectionDataset) -> dict[str, int | str]:
    """Return the number of images and objects, and a digest of class names, image ids, files, sizes and annotations.

    No image is read: of each file of the built-in formats, name and length count. The folder does not matter.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\n".join(dataset.class_names).encode(errors="surrogateescape"))
    num_objects = 0
    for row in range(len(dataset)):
        image_id, fields = dataset.get_annotation(row)
        info = dataset.get_img_info(row)
        line = f"\n{row} {image_id} {_describe_file(dataset, row)} {info['width']} {info['height']}"
        digest.update(line.encode(errors="surrogateescape"))
        for field in map(np.asarray, fields):
            digest.update(f" {field.dtype.str} {field.shape}".encode())
            digest.update(np.ascontiguousarray(field).tobytes())
        num_objects += len(fields[0])
    return {"num_images": len(dataset), "num_objects": num_objects, "digest": digest.hexdigest()}


def _describe_file(dataset: DetectionDataset, row: int) -> str:
    if not isinstance(dataset, ArrayDataset):
        return ""
    path = dataset.image_path(row)
    return f"{path.name} {path.stat().st_size}" if path.exists() else path.name
