"""What is right and wrong in each image at one score threshold, and the images with most errors."""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.analysis.matching import Matches
from ssd.evaluation.analysis.tables import Tables


class ImageErrors(NamedTuple):
    """One image: rows of the tables.

    Attributes:
        image: its index in the dataset.
        hits: detections that are right.
        false_alarms: detections that are not.
        missed: objects that no detection finds.
    """

    image: int
    hits: np.ndarray
    false_alarms: np.ndarray
    missed: np.ndarray


def worst_images(tables: Tables, matches: Matches, threshold: float, count: int) -> list[ImageErrors]:
    """Return the images with most errors: missed objects and false alarms that score above ``threshold``.

    Of equal numbers the image with the higher sum of scores of its false alarms comes first, then that which the
    dataset has first. Images without an error are left out, and ignored objects and detections.
    """
    images, scores = tables.detections.images, tables.detections.scores
    is_shown = scores > threshold
    false_alarm, hit = is_shown & matches.is_false, is_shown & matches.is_hit
    missed = ~tables.objects.is_ignored
    missed[matches.targets[hit]] = False

    num_errors = np.bincount(images[false_alarm], minlength=tables.num_images)
    num_errors += np.bincount(tables.objects.images[missed], minlength=tables.num_images)
    weight = np.bincount(images[false_alarm], weights=scores[false_alarm], minlength=tables.num_images)
    order = np.lexsort((np.arange(tables.num_images), -weight, -num_errors))[:count]
    return [
        ImageErrors(
            index,
            np.flatnonzero(hit & (images == index)),
            np.flatnonzero(false_alarm & (images == index)),
            np.flatnonzero(missed & (tables.objects.images == index)),
        )
        for index in order.tolist()
        if num_errors[index]
    ]
