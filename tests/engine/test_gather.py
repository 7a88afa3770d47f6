"""Packing predictions for the way to another process."""

import torch

from ssd.engine.inference import gather_predictions, pack, unpack
from ssd.structures import Container


def image(count: int, **more: torch.Tensor) -> Container:
    boxes = torch.arange(4.0 * count).view(count, 4)
    prediction = Container(boxes=boxes, labels=torch.arange(count) + 1, scores=torch.linspace(1, 0, count), **more)
    prediction.img_width, prediction.img_height = 10 + count, 20 + count
    return prediction


def assert_same(found: list[Container], expected: list[Container]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (list(one), one.img_width, one.img_height) == (list(other), other.img_width, other.img_height)
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_images_with_and_without_detections() -> None:
    predictions = [image(0), image(3), image(1), image(0)]
    columns = pack(predictions)
    assert {name: tuple(values.shape) for name, values in columns.items()} == {
        "counts": (4, 3), "boxes": (4, 4), "labels": (4,), "scores": (4,),
    }  # fmt: skip
    assert columns["counts"].tolist() == [[0, 10, 20], [3, 13, 23], [1, 11, 21], [0, 10, 20]]
    assert_same(unpack(columns), predictions)


def test_no_images() -> None:
    assert unpack(pack([])) == []


def test_fields_of_another_head() -> None:
    predictions = [image(count, masks=torch.ones(count, 2, 5, dtype=torch.bool)) for count in (2, 0)]
    assert_same(unpack(pack(predictions)), predictions)


def test_one_process_keeps_what_it_has() -> None:
    predictions = [image(1)]
    assert gather_predictions(predictions) is predictions
