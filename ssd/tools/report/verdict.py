"""Verdict on a detector in words: the objects it finds, its errors, and advice."""

import math

import numpy as np

from ssd.evaluation import Analysis
from ssd.evaluation.error_kinds import KINDS
from ssd.tools.report.metric_sections import mean

_LOST = 0.005  # of the AP, to an error of some weight
_NUM_WEAK = 2  # classes
# By kind: name of the error, and what helps against it.
_ADVICE = {
    "class": ("wrong class", "more images of the classes that are confused, and a check of their labels"),
    "localisation": ("boxes in the wrong place", "anchors that fit your boxes (ssd data anchors), and longer training"),
    "both": ("wrong class in the wrong place", "longer training, and more images of the weakest classes"),
    "duplicate": ("objects found twice", "a lower TEST.NMS_THRESHOLD"),
    "background": ("false alarms where nothing is", "images without objects in training, and no missing labels"),
    "missed": ("missed objects", "anchors fitted to your boxes (ssd data anchors), or a larger INPUT.IMAGE_SIZE"),
}


def make_verdict(analysis: Analysis) -> str:
    """Say what is found, what is wrong and what may help."""
    best = analysis.overall_best
    if math.isnan(best.f1) or best.f1 == 0:
        return "Nothing was found, or there is no object to find. Try: longer training, and ssd data check."
    sentences = [
        f"Finds {_of_100(best.recall)} objects; {_of_100(1 - best.precision)} detections are wrong "
        f"(score > {best.threshold:.2g})."
    ]
    costs = [mean(cost) for cost in analysis.errors.costs]
    worst = int(np.nanargmax([0, *costs])) - 1
    has_errors = worst >= 0 and costs[worst] > _LOST
    if has_errors:
        sentences.append(f"Most is lost to: {_ADVICE[KINDS[worst]][0]}.")
    weak = [label for label in np.argsort(analysis.ap, kind="stable")[:_NUM_WEAK].tolist() if analysis.ap[label] < 1]
    if weak and analysis.tables.num_classes > 2:
        sentences.append(f"Weakest: {', '.join(analysis.tables.class_names[label] for label in weak)}.")
    if has_errors:
        sentences.append(f"Try: {_ADVICE[KINDS[worst]][1]}.")
    return " ".join(sentences)


def _of_100(share: float) -> str:
    return f"{100 * share:.0f} of 100"
