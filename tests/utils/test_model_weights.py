import pytest
import torch
from torch import Tensor, nn

from ssd.utils.errors import CheckpointError
from ssd.utils.model_weights import load_model_weights
from tests.utils.small_net import Net


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_mismatch_lists_missing_unexpected_and_shapes() -> None:
    model = Net(num_body=12)
    weights = weights_of(Net(num_body=1))
    weights["body.0.bias"] = torch.zeros(5)
    weights["stray"] = torch.zeros(())
    with pytest.raises(CheckpointError) as caught:
        load_model_weights(model, weights, "file.pth")
    message = str(caught.value)
    assert message.startswith("file.pth does not fit the model:")
    assert "in the model but not in the checkpoint (22): body.1.weight; body.1.bias; " in message
    assert message.count("body.") == 11  # ten missing names and one of another shape
    assert "and 12 more" in message
    assert "in the checkpoint but not in the model (1): stray" in message
    assert "of another shape (1): body.0.bias 5, the model has 4" in message
    assert "class count" not in message


def test_other_class_count_is_recognised() -> None:
    with pytest.raises(CheckpointError, match="class count") as caught:
        load_model_weights(Net(num_classes=3), weights_of(Net(num_classes=7)), "file.pth")
    assert "predictor.cls_headers.0.weight 7x4, the model has 3x4" in str(caught.value)


def test_half_a_header_of_another_shape_is_no_other_class_count() -> None:
    weights = weights_of(Net())
    weights["predictor.cls_headers.0.weight"] = torch.zeros(5, 4)
    with pytest.raises(CheckpointError, match=r"cls_headers\.0\.weight 5x4, the model has 3x4$"):
        load_model_weights(Net(), weights, "file.pth")
