"""Average precision of a Predictor equals that of the evaluation's own loop."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssd.config import load_config
from ssd.data import build_datasets
from ssd.deploy.accuracy import measure_accuracy
from ssd.inference.predictor import Predictor
from ssd.structures import Container

SIZE = (24, 32)  # of the network, a quarter of that of the scenes


def test_a_detector_that_knows_the_answers(config_file: Path) -> None:
    """It finds all objects of the first two scenes of four, and nothing else: recall 1/2 at best, precision 1."""
    cfg = load_config(config_file)
    (dataset,) = build_datasets(cfg, is_train=False)
    annotations = iter([dataset.get_annotation(index)[1] for index in range(2)])
    batches = []

    def network(images: Tensor) -> list[Container]:
        batches.append(len(images))
        found = []
        for _ in images:
            boxes, labels, *_ = next(annotations, (torch.zeros(0, 4).numpy(), torch.zeros(0).long().numpy()))
            container = Container(
                boxes=torch.from_numpy(boxes).float() / 4,
                labels=torch.from_numpy(labels),
                scores=torch.ones(len(labels)),
            )
            container.img_height, container.img_width = SIZE
            found.append(container)
        return found

    predictor = Predictor(network, SIZE, dataset.class_names)
    datasets = {"test_scenes": dataset}
    (accuracy,) = measure_accuracy("ours", predictor, datasets, metric="auto", batch_size=3)
    assert batches == [3, 1]
    assert (accuracy.name, accuracy.dataset, accuracy.metric) == ("ours", "test_scenes", "voc")

    counts = {label: [0, 0] for label in range(1, len(dataset.class_names))}
    for index in range(4):
        _, labels, is_difficult = dataset.get_annotation(index)[1]
        for label in labels[~is_difficult].tolist():
            counts[label][0] += 1
            counts[label][1] += index < 2
    recalls = [found / objects for objects, found in counts.values() if objects]
    assert accuracy.value == pytest.approx(sum(recalls) / len(recalls))
