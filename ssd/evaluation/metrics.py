"""The entry point: measure the predictions of a whole dataset by the metric that was asked for."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from ssd.evaluation.coco import detections_to_results, eval_detection_coco
from ssd.evaluation.inputs import (
    EvaluationDataset,
    ImageDetections,
    is_coco_dataset,
    read_annotation,
    read_predictions,
)
from ssd.evaluation.report import EvaluationResult, make_coco_result, make_voc_result, write_json, write_result
from ssd.evaluation.voc import eval_detection_voc
from ssd.structures import Container
from ssd.utils.errors import ConfigError

METRICS = ("voc07", "voc", "coco")


def evaluate(
    dataset: EvaluationDataset,
    predictions: Sequence[Container],
    output_dir: str | os.PathLike[str],
    *,
    metric: str = "auto",
    iteration: int | None = None,
) -> EvaluationResult:
    """Measure predictions and write the report.

    Writes result_<iteration or time>.txt and metrics.json, for the COCO metric also bbox.json, into ``output_dir``.

    Args:
        dataset: what was predicted; the COCO metric needs the attributes of a ``CocoEvaluationDataset``.
        predictions: one Container an image in the order of the dataset: boxes (N, 4) corner form in pixels of the
            original image, labels (N,), scores (N,); CPU tensors or arrays, not modified.
        output_dir: created if missing.
        metric: "voc07" (11-point AP), "voc" (every-point AP), "coco", or "auto" for the one that the dataset names.
        iteration: training iterations of the model, if it is evaluated during training.

    Raises:
        ConfigError: the metric does not exist or does not fit the dataset.
        ValueError: the predictions do not fit the dataset.
    """
    metric = resolve_metric(metric, dataset)
    detections = read_predictions(dataset, predictions)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    if metric == "coco":
        result = _evaluate_coco(dataset, detections, Path(output_dir, "bbox.json"))
    else:
        result = _evaluate_voc(dataset, detections, metric)
    write_result(result, output_dir, dataset_size=len(dataset), iteration=iteration)
    return result


def resolve_metric(metric: str, dataset: EvaluationDataset) -> str:
    """Return the one of METRICS that ``metric`` means for a dataset; "auto" is the one that the dataset names.

    Raises:
        ConfigError: the metric does not exist or does not fit the dataset.
    """
    metric = dataset.metric if metric == "auto" else metric
    if metric not in METRICS:
        close = difflib.get_close_matches(metric, METRICS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"TEST.METRIC: unknown metric {metric!r}; {hint}Valid: auto, {', '.join(METRICS)}")
    if metric == "coco" and not is_coco_dataset(dataset):
        raise ConfigError(
            f"TEST.METRIC: 'coco' needs a dataset with a COCO annotation file, {type(dataset).__name__} has none; "
            "use 'voc' or 'voc07'"
        )
    return metric


def _evaluate_voc(dataset: EvaluationDataset, detections: list[ImageDetections], metric: str) -> EvaluationResult:
    ap, mean_ap = eval_detection_voc(
        detections,
        [read_annotation(dataset, index) for index in range(len(dataset))],
        len(dataset.class_names),
        use_07_metric=metric == "voc07",
        # x2, y2 are the last pixel of the box in VOC files and its edge in COCO files.
        inclusive_pixels=not is_coco_dataset(dataset),
    )
    return make_voc_result(metric, ap, mean_ap, dataset.class_names)


def _evaluate_coco(
    dataset: EvaluationDataset, detections: list[ImageDetections], results_path: Path
) -> EvaluationResult:
    """Also writes the COCO results list, the file that COCO's evaluation server and other tools read."""
    assert is_coco_dataset(dataset)  # resolve_metric lets no other pass
    category_ids = dataset.contiguous_id_to_coco_id
    image_ids = [dataset.get_annotation(index)[0] for index in range(len(dataset))]
    results = detections_to_results(detections, image_ids, category_ids)
    write_json(results_path, results)
    figures, category_ap = eval_detection_coco(dataset.coco, results, image_ids, list(category_ids.values()))
    class_ap = {
        name: category_ap[category_ids[label]] if label in category_ids else float("nan")
        for label, name in enumerate(dataset.class_names[1:], start=1)
    }
    return make_coco_result(figures, class_ap)
