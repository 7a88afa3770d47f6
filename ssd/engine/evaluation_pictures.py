"""What TensorBoard shows of an evaluation: objects beside detections."""

import numpy as np

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation.inputs import read_annotation
from ssd.visualization import draw_detections
from ssd.visualization.mosaic import mosaic

_NUM_IMAGES = 4
_THRESHOLD = 0.5  # least score of the detections that are drawn


def draw_evaluation(evaluation: DatasetEvaluation) -> dict[str, np.ndarray]:
    """Draw an evaluation; the same images each time.

    Returns:
        RGB uint8 (H, W, 3) by name: "0" to "3", images spread over the dataset, see ``draw_pair``.
    """
    count = len(evaluation.dataset)
    shown = sorted({number * count // _NUM_IMAGES for number in range(_NUM_IMAGES)}) if count else []
    return {str(number): draw_pair(evaluation, index) for number, index in enumerate(shown)}


def draw_pair(evaluation: DatasetEvaluation, index: int) -> np.ndarray:
    """Draw an image twice: on the left with its objects, on the right with what was detected."""
    image, _, _ = evaluation.dataset[index]
    names = evaluation.dataset.class_names
    annotation = read_annotation(evaluation.dataset, index)
    found = evaluation.predictions[index].numpy()
    shown = found["scores"] > _THRESHOLD
    boxes, labels, scores = (found[name][shown] for name in ("boxes", "labels", "scores"))
    pair = [
        draw_detections(image, annotation.boxes, annotation.labels, None, names),
        draw_detections(image, boxes, labels, scores, names),
    ]
    return mosaic(pair, 2, [f"annotated: {len(annotation.labels)}", f"detected above {_THRESHOLD}: {len(labels)}"])
