"""Evaluation of the predictions of a dataset, and its result as text and JSON."""

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from ssd.evaluation.coco import detections_to_results, eval_detection_coco
from ssd.evaluation.inputs import (
    EvaluationDataset,
    ImageDetections,
    as_coco_dataset,
    has_inclusive_pixels,
    read_annotation,
    read_predictions,
)
from ssd.evaluation.voc import eval_detection_voc
from ssd.structures import Container
from ssd.utils.errors import ConfigError
from ssd.utils.files import write_json, write_text

METRICS = ("voc07", "voc", "coco")


@dataclass(frozen=True)
class EvaluationResult:
    """Figures of one dataset."""

    metric: str  # voc07, voc or coco
    # Figures by name, nan where there is no object. VOC: "mAP", then AP by class name. COCO: the twelve figures "AP" to
    # "ARl", then "AP/<class name>".
    values: dict[str, float]
    text: str  # report as written to result_*.txt

    @property
    def main_name(self) -> str:
        """Name of the main figure, by which models are compared."""
        return "AP" if self.metric == "coco" else "mAP"

    @property
    def main(self) -> float:
        """The main figure."""
        return self.values[self.main_name]

    @property
    def summary(self) -> dict[str, float]:
        """Figures over all classes."""
        if self.metric == "coco":
            return {name: value for name, value in self.values.items() if not name.startswith("AP/")}
        return {self.main_name: self.main}


def evaluate(
    dataset: EvaluationDataset,
    predictions: Sequence[Container],
    output_dir: str | os.PathLike[str],
    *,
    metric: str = "auto",
    iteration: int | None = None,
) -> EvaluationResult:
    """Evaluate predictions, and write the result.

    Writes result_<iteration or time>.txt and metrics.json, for the COCO metric also bbox.json, into ``output_dir``.

    Args:
        predictions: One Container for each image in the order of the dataset: boxes (N, 4) corner form in pixels of
            the original image, labels (N,), scores (N,); CPU tensors or arrays, not modified.
        output_dir: Created if missing.
        metric: "voc07" (11-point AP), "voc" (every-point AP), "coco", or "auto" for the default of the dataset.
        iteration: Iteration of the training, if this is an evaluation during training.
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
    """Return one of METRICS; "auto" is the default of the dataset."""
    metric = dataset.metric if metric == "auto" else metric
    if metric not in METRICS:
        close = difflib.get_close_matches(metric, METRICS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"TEST.METRIC: unknown metric {metric!r}; {hint}Valid: auto, {', '.join(METRICS)}")
    return metric


def make_voc_result(metric: str, ap: np.ndarray, mean_ap: float, class_names: Sequence[str]) -> EvaluationResult:
    """Build the result of a VOC metric from AP (C,) by label."""
    class_ap = dict(zip(class_names[1:], ap[1:].tolist(), strict=True))
    text = f"mAP: {mean_ap:.4f}\n" + _class_lines(class_ap, mean_ap)
    return EvaluationResult(metric, {"mAP": mean_ap, **class_ap}, text)


def make_coco_result(figures: Mapping[str, float], class_ap: Mapping[str, float]) -> EvaluationResult:
    """Build the result of the COCO metric from the twelve figures and AP by class name."""
    lines = "".join(f"{name:<10}: {round(value, 3)}\n" for name, value in figures.items())
    values = {**figures, **{f"AP/{name}": ap for name, ap in class_ap.items()}}
    return EvaluationResult("coco", values, lines + _class_lines(class_ap, figures["AP"]))


def write_result(
    result: EvaluationResult, output_dir: str | os.PathLike[str], *, dataset_size: int, iteration: int | None
) -> None:
    """Write result_*.txt, named by the iteration or else by the time, and metrics.json into an existing folder."""
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}" if iteration is None else f"{iteration:07d}"
    write_text(Path(output_dir, f"result_{stamp}.txt"), result.text)
    summary = {
        "metric": result.metric,
        "dataset_size": dataset_size,
        "iteration": iteration,
        "values": {name: None if math.isnan(value) else value for name, value in result.values.items()},
    }
    write_json(Path(output_dir, "metrics.json"), summary, indent=2)


def _evaluate_voc(dataset: EvaluationDataset, detections: list[ImageDetections], metric: str) -> EvaluationResult:
    ap, mean_ap = eval_detection_voc(
        detections,
        [read_annotation(dataset, index) for index in range(len(dataset))],
        len(dataset.class_names),
        use_07_metric=metric == "voc07",
        inclusive_pixels=has_inclusive_pixels(dataset),
    )
    return make_voc_result(metric, ap, mean_ap, dataset.class_names)


def _evaluate_coco(dataset: EvaluationDataset, detections: list[ImageDetections], path: Path) -> EvaluationResult:
    """Also write the results list to ``path``, which COCO's evaluation server and other tools read."""
    coco_set = as_coco_dataset(dataset)
    category_ids = coco_set.contiguous_id_to_coco_id
    image_ids = [coco_set.get_annotation(index)[0] for index in range(len(dataset))]
    results = detections_to_results(detections, image_ids, category_ids)
    write_json(path, results)
    figures, category_ap = eval_detection_coco(coco_set.coco, results, image_ids, list(category_ids.values()))
    class_ap = {
        name: category_ap[category_ids[label]] if label in category_ids else float("nan")
        for label, name in enumerate(dataset.class_names[1:], start=1)
    }
    return make_coco_result(figures, class_ap)


def _class_lines(class_ap: Mapping[str, float], main: float) -> str:
    remark = "The dataset holds no object to find: nothing could be measured.\n" if math.isnan(main) else ""
    return "".join(f"{name:<16}: {ap:.4f}\n" for name, ap in class_ap.items()) + remark
