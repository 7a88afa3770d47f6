"""The outcome of one evaluation, as text for people and as JSON for programs."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ssd.utils.files import atomic_write


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of one dataset.

    Attributes:
        metric: voc07, voc or coco.
        values: the figures by name, nan where there was no object to find. VOC: "mAP", then AP by class name.
            COCO: the twelve figures "AP" to "ARl", then "AP/<class name>".
        text: the report as written to result_*.txt.
    """

    metric: str
    values: dict[str, float]
    text: str

    @property
    def main_name(self) -> str:
        """Name of the figure by which models are compared."""
        return "AP" if self.metric == "coco" else "mAP"

    @property
    def main(self) -> float:
        """The figure by which models are compared."""
        return self.values[self.main_name]

    @property
    def summary(self) -> dict[str, float]:
        """The figures that are not of one class."""
        if self.metric == "coco":
            return {name: value for name, value in self.values.items() if not name.startswith("AP/")}
        return {self.main_name: self.main}


def make_voc_result(metric: str, ap: np.ndarray, mean_ap: float, class_names: Sequence[str]) -> EvaluationResult:
    """Build the result of a VOC metric from AP (C,) by label; the report lists every class."""
    class_ap = dict(zip(class_names[1:], ap[1:].tolist(), strict=True))
    text = f"mAP: {mean_ap:.4f}\n" + _class_lines(class_ap) + _remark(mean_ap)
    return EvaluationResult(metric, {"mAP": mean_ap, **class_ap}, text)


def make_coco_result(figures: Mapping[str, float], class_ap: Mapping[str, float]) -> EvaluationResult:
    """Build the result of the COCO metric from the twelve figures and AP by class name."""
    lines = "".join(f"{name:<10}: {round(value, 3)}\n" for name, value in figures.items())
    text = lines + _class_lines(class_ap) + _remark(figures["AP"])
    return EvaluationResult("coco", {**figures, **{f"AP/{name}": ap for name, ap in class_ap.items()}}, text)


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


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write strict JSON, which has no nan, in one step."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step, so that no reader and no interruption finds half of it."""
    with atomic_write(path) as file:
        file.write(text.encode())


def _class_lines(class_ap: Mapping[str, float]) -> str:
    return "".join(f"{name:<16}: {ap:.4f}\n" for name, ap in class_ap.items())


def _remark(main: float) -> str:
    return "The dataset holds no object to find: nothing could be measured.\n" if math.isnan(main) else ""
