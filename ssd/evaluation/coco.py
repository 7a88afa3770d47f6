"""COCO average precision and recall of boxes, by faster-coco-eval where it is installed, else by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssd.evaluation.inputs import ImageDetections

# The twelve figures in the order of COCOeval.stats. s, m, l: objects below 32^2, up to 96^2, above 96^2 pixels.
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def detections_to_results(
    detections: Sequence[ImageDetections], image_ids: Sequence[int], label_to_category_id: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return a COCO results list (image_id, category_id, bbox x, y, w, h in pixels, score) of classes with an id."""
    results = []
    for image_id, (boxes, labels, scores) in zip(image_ids, detections, strict=True):
        boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        results += [
            {"image_id": image_id, "category_id": label_to_category_id[label], "bbox": box, "score": score}
            for box, label, score in zip(boxes_xywh.tolist(), labels.tolist(), scores.tolist(), strict=True)
            if label in label_to_category_id
        ]
    return results


def eval_detection_coco(
    coco: Any, results: Sequence[dict[str, Any]], image_ids: Sequence[int], category_ids: Sequence[int]
) -> tuple[dict[str, float], dict[int, float]]:
    """Evaluate a results list against a COCO annotation file.

    Returns:
        The twelve FIGURES by name, and AP by category id; nan where there is no object.
    """
    api, evaluator_class = _coco_api()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = _indexed(api, coco.dataset, _annotations(coco.dataset.get("annotations", [])))
        evaluator = evaluator_class(truth, _indexed(api, coco.dataset, _annotations(results)), "bbox")
        evaluator.params.imgIds = list(image_ids)
        evaluator.params.catIds = sorted(category_ids)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    figures = {name: _or_nan(value) for name, value in zip(FIGURES, evaluator.stats, strict=True)}
    # precision: (IoU thresholds, recalls, categories, areas, detection limits); area 0 is all, limit -1 is 100
    precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
    return figures, {id_: _or_nan(precision[:, :, index].mean()) for index, id_ in enumerate(sorted(category_ids))}


def _or_nan(value: float) -> float:
    """COCOeval writes -1 where there is no object; a category's precision is -1 everywhere or nowhere."""
    return float("nan") if value < 0 else float(value)


def _coco_api() -> tuple[Any, Any]:
    """Classes COCO and COCOeval; the figures are the same, faster-coco-eval is several times faster."""
    try:
        import faster_coco_eval
    except ImportError:
        from pycocotools import coco, cocoeval

        return coco.COCO, cocoeval.COCOeval
    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def _indexed(api: Any, dataset: Mapping[str, Any], annotations: list[dict[str, Any]]) -> Any:
    """COCO object: COCO.loadRes fails on an empty list, and COCOeval writes into its annotations."""
    indexed = api()
    indexed.dataset = {
        "images": [{"id": image["id"]} for image in dataset["images"]],
        "categories": list(dataset["categories"]),
        "annotations": annotations,
    }
    indexed.createIndex()
    return indexed


def _annotations(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies with all keys that COCOeval reads, numbered from 1, because it marks unmatched entries with id 0."""
    return [
        {
            **{key: entry[key] for key in ("image_id", "category_id", "bbox", "score") if key in entry},
            "id": number,
            "area": entry.get("area", entry["bbox"][2] * entry["bbox"][3]),
            "iscrowd": entry.get("iscrowd", 0),
        }
        for number, entry in enumerate(entries, start=1)
    ]
