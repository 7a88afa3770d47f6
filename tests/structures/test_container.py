import numpy as np
import pytest
import torch

from ssd.structures import Container


def detections() -> Container:
    container = Container(
        boxes=torch.tensor([[0.0, 10.0, 30.0, 40.0]]), labels=torch.tensor([2]), scores=torch.tensor([0.5])
    )
    container.img_width, container.img_height = 300, 200
    return container


def test_mapping_interface() -> None:
    container = Container(boxes=torch.zeros(1, 4))
    container["labels"] = torch.ones(1)
    assert list(container) == ["boxes", "labels"]
    assert "labels" in container
    assert "scores" not in container
    assert container["labels"] == 1
    with pytest.raises(KeyError, match="scores"):
        container["scores"]
    assert "labels" in repr(container)


def test_size_is_unset_at_first() -> None:
    assert (Container().img_width, Container().img_height) == (0, 0)


def test_resize_scales_boxes_and_size_in_a_copy() -> None:
    container = detections()
    resized = container.resize((600, 100))
    assert torch.equal(resized["boxes"], torch.tensor([[0.0, 5.0, 60.0, 20.0]]))
    assert (resized.img_width, resized.img_height) == (600, 100)
    assert torch.equal(container["boxes"], torch.tensor([[0.0, 10.0, 30.0, 40.0]]))
    assert (container.img_width, container.img_height) == (300, 200)
    assert torch.equal(resized["labels"], container["labels"])


def test_resize_there_and_back() -> None:
    back = detections().resize((37, 91)).resize((300, 200))
    torch.testing.assert_close(back["boxes"], detections()["boxes"])


def test_resize_of_arrays_and_of_nothing() -> None:
    assert np.array_equal(detections().numpy().resize((150, 200))["boxes"], [[0, 10, 15, 40]])
    empty = Container(boxes=torch.zeros(0, 4))
    empty.img_width = empty.img_height = 5
    assert empty.resize((10, 10))["boxes"].shape == (0, 4)


def test_resize_needs_the_size() -> None:
    with pytest.raises(ValueError, match="img_width"):
        Container(boxes=torch.zeros(1, 4)).resize((10, 10))


def test_moves_keep_size_and_plain_values() -> None:
    container = detections()
    container["name"] = "a"
    moved = container.to(torch.float64)
    assert moved["boxes"].dtype == torch.float64
    assert container["boxes"].dtype == torch.float32
    assert moved["name"] == "a"
    assert (moved.img_width, moved.img_height) == (300, 200)
    arrays = container.numpy()
    assert isinstance(arrays["boxes"], np.ndarray)
    assert (arrays.img_width, arrays.img_height) == (300, 200)
