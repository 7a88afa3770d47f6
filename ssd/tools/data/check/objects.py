"""The objects of a dataset: how many of each class, and how large."""

from dataclasses import asdict, dataclass

import numpy as np

from ssd.data.datasets import DetectionDataset

QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True)
class ObjectCounts:
    """What the annotations of a dataset hold; boxes that cannot be learnt are left out.

    Attributes:
        by_class: number of objects of each class, in the order of the labels.
        images_by_class: number of images that have one.
        num_images_without: images without any object.
        widths: of the boxes in pixels, at the QUANTILES; None without boxes.
        heights: likewise.
        sides: square root of the share of its image that a box takes, likewise.
    """

    by_class: dict[str, int]
    images_by_class: dict[str, int]
    num_images_without: int
    widths: tuple[float, ...] | None
    heights: tuple[float, ...] | None
    sides: tuple[float, ...] | None

    @property
    def total(self) -> int:
        """Number of objects."""
        return sum(self.by_class.values())

    def as_dict(self) -> dict[str, object]:
        """Return plain containers."""
        return asdict(self)


def count_objects(dataset: DetectionDataset) -> ObjectCounts:
    """Count and measure the objects of a dataset, those that are marked difficult included."""
    num_classes = len(dataset.class_names)
    objects, images = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    num_without = 0
    extents, sizes = [np.empty((0, 2))], [np.empty((0, 2))]
    for row in range(len(dataset)):
        _, (boxes, labels, *_) = dataset.get_annotation(row)
        info = dataset.get_img_info(row)
        counts = np.bincount(labels, minlength=num_classes)
        objects += counts
        images += counts > 0
        num_without += len(labels) == 0
        extents.append(boxes[:, 2:] - boxes[:, :2])
        sizes.append(np.full((len(boxes), 2), (info["width"], info["height"])))
    extent, size = np.concatenate(extents).astype(np.float64), np.concatenate(sizes)
    names = dataset.class_names[1:]
    return ObjectCounts(
        by_class=dict(zip(names, objects[1:].tolist(), strict=True)),
        images_by_class=dict(zip(names, images[1:].tolist(), strict=True)),
        num_images_without=num_without,
        widths=_quantiles(extent[:, 0]),
        heights=_quantiles(extent[:, 1]),
        sides=_quantiles(np.sqrt((extent / size).prod(axis=1))),
    )


def _quantiles(values: np.ndarray) -> tuple[float, ...] | None:
    return tuple(np.quantile(values, QUANTILES).tolist()) if len(values) else None
