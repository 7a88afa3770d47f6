import numpy as np
import pytest
import torch

from ssd.evaluation.inputs import read_annotation, read_predictions
from ssd.structures import Container


class Annotated:
    """Images with the same annotation."""

    class_names = ("__background__", "cat", "dog")
    metric = "voc"

    def __init__(self, *arrays, num_images=1):
        self.arrays, self.num_images = arrays, num_images

    def __len__(self):
        return self.num_images

    def get_annotation(self, index):
        return "id", self.arrays


def prediction(boxes=((0, 0, 5, 5),), labels=(1,), scores=(0.5,)):
    return Container(
        boxes=torch.tensor(boxes, dtype=torch.float32), labels=torch.tensor(labels), scores=torch.tensor(scores)
    )


def test_tensors_and_arrays_read_the_same():
    empty = Container(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), scores=torch.zeros(0))
    of_tensors, of_arrays, none = read_predictions(Annotated(num_images=3), [prediction(), prediction().numpy(), empty])
    for left, right in zip(of_tensors, of_arrays, strict=True):
        assert isinstance(left, np.ndarray)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert len(none.labels) == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"labels": (0,)}, r"image 1: label 0 .*1\.\.2"),
        ({"labels": (3,)}, r"image 1: label 3 .*1\.\.2"),
        ({"scores": (float("nan"),)}, "image 1: .*score"),
        ({"boxes": ((0, 0, float("inf"), 5),)}, "image 1: .*box"),
    ],
)
def test_impossible_detections_name_the_image(bad, message):
    with pytest.raises(ValueError, match=message):
        read_predictions(Annotated(num_images=2), [prediction(), prediction(**bad)])


def test_one_prediction_for_each_image():
    with pytest.raises(ValueError, match=r"1 .* 2 images"):
        read_predictions(Annotated(num_images=2), [prediction()])


def test_difficult_flags_are_boolean_and_optional():
    boxes, labels = np.zeros((2, 4), np.float32), np.ones(2, np.int64)
    with_flags = read_annotation(Annotated(boxes, labels, np.array([0, 1], np.uint8)), 0)
    without_flags = read_annotation(Annotated(boxes, labels), 0)
    assert with_flags.is_difficult.dtype == without_flags.is_difficult.dtype == bool
    assert with_flags.is_difficult.tolist() == [False, True]
    assert without_flags.is_difficult.tolist() == [False, False]
