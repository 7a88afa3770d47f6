"""Small datasets: by hand, and at random."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO

from ssd.structures import Container


class VOCSet:
    """Objects given as (box, label) or (box, label, is_difficult), a list an image."""

    metric = "voc"
    inclusive_pixels = True

    def __init__(self, images, class_names=("cat", "dog")):
        self.images = images
        self.class_names = ("__background__", *class_names)

    def __len__(self):
        return len(self.images)

    def get_annotation(self, index):
        rows = [(*row, False)[:3] for row in self.images[index]]
        boxes = np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4)
        labels = np.array([label for _, label, _ in rows], dtype=np.int64)
        return f"{index:06d}", (boxes, labels, np.array([flag for _, _, flag in rows], dtype=bool))


class COCOSet:
    """Images and annotations of a COCO file; category ids are 100 - label, images come by descending id."""

    metric = "coco"

    def __init__(self, annotations, num_images, num_classes):
        self.class_names = ("__background__", *(f"class {label}" for label in range(1, num_classes + 1)))
        self.contiguous_id_to_coco_id = {label: 100 - label for label in range(1, num_classes + 1)}
        self.ids = list(range(num_images))[::-1]
        self.coco = COCO()
        self.coco.dataset = {
            "images": [{"id": image_id} for image_id in self.ids],
            "categories": [{"id": 100 - label, "name": f"class {label}"} for label in range(1, num_classes + 1)],
            "annotations": annotations,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco.createIndex()

    def __len__(self):
        return len(self.ids)

    def get_annotation(self, index):
        rows = [item for item in self.coco.imgToAnns[self.ids[index]] if not item["iscrowd"]]
        boxes = np.array([item["bbox"] for item in rows], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return self.ids[index], (boxes, np.array([100 - item["category_id"] for item in rows], dtype=np.int64))


def predicted(*rows):
    """A Container from (box, label, score) rows."""
    boxes = np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    return Container(boxes=boxes, labels=labels, scores=np.array([score for *_, score in rows], dtype=np.float32))


def random_set(seed, *, grid=1e-3, num_images=25, num_classes=4, num_detections=60):
    """A COCOSet with crowds and its predictions. A coarse grid makes equal scores and IoUs of exactly 0.5 and 0.75."""
    draw = np.random.default_rng(seed)

    def boxes(count):
        size = np.exp(draw.uniform(np.log(10), np.log(200), (count, 2)))
        corner = draw.uniform(0, 200, (count, 2))
        return np.round(np.concatenate([corner, corner + size], axis=1) / grid) * grid

    annotations, predictions = [], [predicted() for _ in range(num_images)]
    for image_id in range(num_images):
        num_objects = draw.poisson(5)
        objects, labels = boxes(num_objects), draw.integers(1, num_classes + 1, num_objects)
        for (x1, y1, x2, y2), label in zip(objects.tolist(), labels.tolist(), strict=True):
            size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1) * draw.uniform(0.6, 1)}
            place = {"image_id": image_id, "category_id": 100 - label, "iscrowd": int(draw.random() < 0.1)}
            annotations.append({"id": len(annotations) + 1, **size, **place})
        found, found_labels = boxes(num_detections), draw.integers(1, num_classes + 1, num_detections)
        if num_objects:
            meant = draw.integers(0, num_objects, num_detections)
            near = objects[meant] + draw.normal(0, 8, (num_detections, 4))
            near = np.round(np.concatenate([np.minimum(near[:, :2], near[:, 2:] - 1), near[:, 2:]], 1) / grid) * grid
            is_near = draw.random(num_detections) < 0.6
            found = np.where(is_near[:, None], near, found)
            found_labels = np.where(is_near & (draw.random(num_detections) < 0.8), labels[meant], found_labels)
        scores = draw.random(num_detections)
        scores = np.sort(np.round(scores, 1) if grid >= 1 else scores)[::-1]
        predictions[num_images - 1 - image_id] = predicted(*zip(found, found_labels, scores, strict=True))
    return COCOSet(annotations, num_images, num_classes), predictions
