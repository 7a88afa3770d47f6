"""Small datasets with pixels, and what was detected in them."""

import numpy as np

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import evaluate
from ssd.tools.report import RunFacts
from tests.evaluation.sets import VOCSet, predicted

FACTS = RunFacts((("date", "today"), ("network", "tiny, 64 × 64 pixels"), ("checkpoint", "a <b> & c.pth")), "A: 1\n")
LEFT, RIGHT, FAR = [0, 0, 99, 99], [200, 0, 299, 99], [400, 300, 439, 339]


class PictureSet(VOCSet):
    """A VOCSet with grey images."""

    def __getitem__(self, index):
        size = self.get_img_info(index)
        return np.full((size["height"], size["width"], 3), 128, np.uint8), None, index

    def get_img_info(self, index):
        return {"width": 640, "height": 480}


HOSTILE = "_<script>alert(1)</script> $x^$ 日本"


def three_classes():
    """A dataset with one of most kinds of errors, whose third class has no object; and its predictions."""
    images = [[(LEFT, 1), (RIGHT, 1), (FAR, 2)], [], [(LEFT, 2), (RIGHT, 2, True)]]
    dataset = PictureSet(images, ("cat", "dog", HOSTILE))
    predictions = [
        predicted((LEFT, 2, 0.95), (LEFT, 1, 0.8), ([0, 0, 99, 98], 1, 0.7), ([240, 0, 339, 99], 1, 0.6)),
        predicted(([600, 0, 639, 50], 3, 0.9)),
        predicted((LEFT, 2, 0.9), (RIGHT, 2, 0.4)),
    ]
    return dataset, predictions


def evaluated(dataset, predictions, folder):
    """The DatasetEvaluation of a dataset called "small"."""
    return DatasetEvaluation("small", dataset, predictions, evaluate(dataset, predictions, folder))
