"""Where a detector fails: curves, thresholds, kinds of errors, confusion, calibration."""

from ssd.evaluation.analysis.analysis import AREAS, Analysis, analyse
from ssd.evaluation.analysis.curves import Curve, Operation
from ssd.evaluation.analysis.errors import KINDS

__all__ = ["AREAS", "KINDS", "Analysis", "Curve", "Operation", "analyse"]
