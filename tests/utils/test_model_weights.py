import pytest
import torch

from ssd.utils.errors import CheckpointError
from ssd.utils.model_weights import load_model_weights
from tests.utils.small_net import Net, weights_of


def test_a_mismatch_lists_names_and_shapes() -> None:
    weights = weights_of(Net(num_body=1))
    weights["body.0.bias"] = torch.zeros(5)
    weights["stray"] = torch.zeros(())
    with pytest.raises(CheckpointError, match=r"^file\.pth ") as caught:
        load_model_weights(Net(num_body=12), weights, "file.pth")
    _, missing, unexpected, misshapen = str(caught.value).splitlines()
    assert "(22): body.1.weight; body.1.bias; " in missing
    assert missing.count("body.") == 10
    assert "and 12 more" in missing
    assert "(1): stray" in unexpected
    assert "(1): body.0.bias 5, the model has 4" in misshapen


def test_another_class_count_is_recognised() -> None:
    with pytest.raises(CheckpointError, match="NUM_CLASSES") as caught:
        load_model_weights(Net(num_classes=3), weights_of(Net(num_classes=7)), "file.pth")
    assert "predictor.cls_headers.0.weight 7x4, the model has 3x4" in str(caught.value)
    weights = weights_of(Net())
    weights["predictor.cls_headers.0.weight"] = torch.zeros(5, 4)  # half a header
    with pytest.raises(CheckpointError, match=r"cls_headers\.0\.weight 5x4, the model has 3x4$"):
        load_model_weights(Net(), weights, "file.pth")
