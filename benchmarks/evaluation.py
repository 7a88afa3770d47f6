"""How long do the metrics take over a whole test set?"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.plan import Plan
from benchmarks.timing import Comparison, compare
from ssd.evaluation import ImageAnnotation, ImageDetections, eval_detection_coco, eval_detection_voc

_OBJECTS, _DETECTIONS = 8, 100  # an image
_SIDE = 400.0


@dataclass(frozen=True)
class TestSet:
    """Objects of a test set, and what a detector found of them and besides."""

    annotations: list[ImageAnnotation]
    detections: list[ImageDetections]
    num_classes: int


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure VOC and COCO average precision."""
    yield _measure_voc(plan, make_test_set(10 if plan.is_quick else 500, num_classes=21))
    yield _measure_coco(plan, make_test_set(10 if plan.is_quick else 300, num_classes=81))


def make_test_set(num_images: int, num_classes: int) -> TestSet:
    """Draw objects; every one is found somewhat displaced, all other detections are of random places."""
    rng = np.random.default_rng(0)
    annotations, detections = [], []
    for _ in range(num_images):
        boxes, labels = _draw_boxes(rng, _OBJECTS), rng.integers(1, num_classes, _OBJECTS)
        annotations.append(ImageAnnotation(boxes, labels, np.zeros(_OBJECTS, dtype=bool)))
        others = _DETECTIONS - _OBJECTS
        found = np.concatenate([boxes + rng.normal(0, 5, boxes.shape), _draw_boxes(rng, others)]).astype(np.float32)
        found_labels = np.concatenate([labels, rng.integers(1, num_classes, others)])
        scores = np.concatenate([rng.uniform(0.3, 1, _OBJECTS), rng.uniform(0.01, 0.5, others)]).astype(np.float32)
        order = np.argsort(-scores)
        detections.append(ImageDetections(found[order], found_labels[order], scores[order]))
    return TestSet(annotations, detections, num_classes)


def _draw_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners, sides = rng.uniform(0, _SIDE, (count, 2)), rng.uniform(10, 200, (count, 2))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def _measure_voc(plan: Plan, data: TestSet) -> Comparison:
    coco, results = _to_coco(data), _to_results(data)

    def voc() -> None:
        eval_detection_voc(
            data.detections, data.annotations, data.num_classes, use_07_metric=True, inclusive_pixels=True
        )

    timers = {
        "ssd": plan.timer(voc),
        "pycocotools at the IoU of 0.5 alone": plan.timer(lambda: _run_pycocotools(coco, results, [0.5])),
    }
    title = f"VOC average precision: {len(data.detections)} images, {_DETECTIONS} detections each"
    return compare(title, timers, plan.effort, items=len(data.detections))


def _measure_coco(plan: Plan, data: TestSet) -> Comparison:
    coco, results = _to_coco(data), _to_results(data)
    image_ids, category_ids = coco.getImgIds(), coco.getCatIds()
    timers = {
        "ssd (by faster-coco-eval where it is installed)": plan.timer(
            lambda: eval_detection_coco(coco, results, image_ids, category_ids)
        ),
        "pycocotools": plan.timer(lambda: _run_pycocotools(coco, results)),
    }
    title = f"COCO average precision: {len(data.detections)} images, {_DETECTIONS} detections each"
    return compare(title, timers, plan.effort, items=len(data.detections))


def _to_coco(data: TestSet) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(len(data.annotations))],
        "categories": [{"id": label, "name": str(label)} for label in range(1, data.num_classes)],
        "annotations": _entries(data.annotations, area=True),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _to_results(data: TestSet) -> list[dict[str, Any]]:
    return _entries(data.detections, area=False)


def _entries(images: list[Any], *, area: bool) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for image_id, image in enumerate(images):
        for row, (x1, y1, x2, y2) in enumerate(image.boxes.tolist()):
            entry = {"image_id": image_id, "category_id": int(image.labels[row]), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            if area:
                entry |= {"id": len(entries) + 1, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            else:
                entry |= {"score": float(image.scores[row])}
            entries.append(entry)
    return entries


def _run_pycocotools(coco: COCO, results: list[dict[str, Any]], iou_thresholds: list[float] | None = None) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        evaluator = COCOeval(coco, coco.loadRes([dict(entry) for entry in results]), "bbox")
        if iou_thresholds is not None:
            evaluator.params.iouThrs = np.array(iou_thresholds)
        evaluator.evaluate()
        evaluator.accumulate()
        if iou_thresholds is None:
            evaluator.summarize()
