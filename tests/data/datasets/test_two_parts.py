"""Both formats give annotation and image apart, the same that they give together."""

import numpy as np

from ssd.data.datasets import COCODataset, VOCDataset
from ssd.data.samples import TwoPartDataset


def _assert_parts_are_the_whole(dataset, shape) -> None:
    assert isinstance(dataset, TwoPartDataset)
    image, target, _ = dataset[0]
    apart, reduction = dataset.read_image(0)
    np.testing.assert_array_equal(apart, image)
    assert reduction == 1
    for name in ("boxes", "labels"):
        np.testing.assert_array_equal(dataset.get_target(0)[name], target[name])
    reduced, reduction = dataset.read_image(0, 4)
    assert (reduced.shape, reduction) == (shape, 4)


def test_voc(write_voc) -> None:
    root = write_voc({"a": [("cat", (1, 1, 9, 9)), ("dog", (2, 2, 9, 9), 1)]}, suffix=".jpg")
    dataset = VOCDataset(root, "train")
    _assert_parts_are_the_whole(dataset, (8, 10, 3))
    assert dataset.get_target(0)["labels"].tolist() == [1]


def test_coco(write_coco) -> None:
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 42, "height": 29}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    _assert_parts_are_the_whole(COCODataset(*write_coco(content)), (8, 11, 3))
