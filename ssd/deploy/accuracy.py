"""Average precision of a detector, whatever runs it: a model or an exported file."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from ssd.data.datasets import DetectionDataset
from ssd.deploy.dataset_images import DatasetImages
from ssd.evaluation import evaluate
from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.structures import Container


@dataclass(frozen=True)
class Accuracy:
    """What one detector reached on one dataset.

    Attributes:
        name: of the detector.
        dataset: its name.
        metric: voc07, voc or coco.
        value: mAP, or AP of COCO; nan if the dataset holds no object.
    """

    name: str
    dataset: str
    metric: str
    value: float


def measure_accuracy(
    name: str, predictor: Predictor, datasets: Mapping[str, DetectionDataset], *, metric: str, batch_size: int
) -> list[Accuracy]:
    """Detect in all images of every dataset, and measure.

    Args:
        name: of the detector.
        predictor: detects.
        datasets: by name.
        metric: TEST.METRIC.
        batch_size: images at a time.

    Raises:
        ConfigError: the metric does not fit a dataset.
        DatasetError: an image cannot be read.
    """
    accuracies = []
    for dataset_name, dataset in datasets.items():
        images = DatasetImages([dataset_name], [dataset])
        found = [_as_container(one) for one in predictor.predict(images, stream=True, batch_size=batch_size)]
        with tempfile.TemporaryDirectory() as folder:  # for its reports, which are those of a training
            result = evaluate(dataset, found, folder, metric=metric)
        accuracies.append(Accuracy(name, dataset_name, result.metric, result.main))
    return accuracies


def _as_container(detections: Detections) -> Container:
    """The form that the evaluation takes."""
    return Container(boxes=detections.boxes, labels=detections.labels, scores=detections.scores)
