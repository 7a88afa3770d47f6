"""Whether a score of 0.8 is right in 8 of 10 cases."""

from typing import NamedTuple

import numpy as np

NUM_BINS = 10


class Calibration(NamedTuple):
    """Detections in bins of equal width by score.

    Attributes:
        counts: (10,) detections of each bin.
        confidence: (10,) their mean score, nan in an empty bin.
        precision: (10,) the part of them that is right, likewise.
        error: expected calibration error, the mean over the detections of |confidence - precision| of their bin (Guo et
            al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3); nan without detections.
    """

    counts: np.ndarray
    confidence: np.ndarray
    precision: np.ndarray
    error: float


def calibrate(scores: np.ndarray, is_hit: np.ndarray) -> Calibration:
    """Compare scores (D,) from 0 to 1 with what is right (D,). The upper end of a bin belongs to it."""
    bins = np.clip(np.ceil(scores.astype(np.float64) * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    divisor = np.where(counts, counts, np.nan)
    confidence = np.bincount(bins, weights=scores, minlength=NUM_BINS) / divisor
    precision = np.bincount(bins, weights=is_hit, minlength=NUM_BINS) / divisor
    gaps = np.nansum(counts * np.abs(confidence - precision))
    return Calibration(counts, confidence, precision, float(gaps / len(scores)) if len(scores) else float("nan"))
