"""Predictors: how they start, and in which order they predict."""

import pytest
import torch
from torch import nn

from ssd.modeling import registry
from ssd.modeling.box_head.box_predictor import BoxPredictor, class_scores, flatten_levels, last_conv
from ssd.utils.errors import ConfigError

PREDICTORS = [
    *("SSDBoxPredictor", "SSDLiteBoxPredictor", "PlainSSDLiteBoxPredictor", "SeparableBoxPredictor"),
    "PointwiseBoxPredictor",
]


def build(name: str, num_classes: int, **options: str) -> nn.Module:
    predictor = registry.BOX_PREDICTORS[name]
    return predictor(in_channels=[64, 32], boxes_per_location=[4, 6], num_classes=num_classes, **options)


@torch.no_grad()
@pytest.mark.parametrize("num_classes", [2, 21, 81])
@pytest.mark.parametrize("name", PREDICTORS)
def test_every_prior_starts_as_background_at_its_place(name: str, num_classes: int) -> None:
    predictor = build(name, num_classes)
    cls_logits, bbox_pred = predictor([torch.randn(2, 64, 9, 9), torch.randn(2, 32, 3, 3)])
    probabilities = cls_logits.softmax(dim=-1)
    assert probabilities[..., 0].mean() == pytest.approx(0.99, abs=0.005)
    others = probabilities[..., 1:].mean(dim=(0, 1))
    torch.testing.assert_close(others, torch.full_like(others, 0.01 / (num_classes - 1)), rtol=0.3, atol=0)
    assert bbox_pred.abs().max() < 1  # in units of the variances: a tenth of a prior
    assert bbox_pred.std() > 0.01  # not all the same


@torch.no_grad()
def test_sigmoid_scores_start_low() -> None:
    predictor = build("SSDLiteBoxPredictor", 21, score_function="sigmoid")
    cls_logits, _ = predictor([torch.randn(2, 64, 9, 9), torch.randn(2, 32, 3, 3)])
    scores = class_scores(cls_logits, "sigmoid")
    assert scores.shape == (2, 4 * 81 + 6 * 9, 20)
    torch.testing.assert_close(scores.mean(dim=(0, 1)), torch.full((20,), 0.01), rtol=0.1, atol=0)


def test_scores_by_hand() -> None:
    logits = torch.log(torch.tensor([[[1.0, 2.0, 5.0]]]))
    assert class_scores(logits, "softmax").tolist() == [[pytest.approx([2 / 8, 5 / 8])]]
    assert class_scores(logits.half(), "sigmoid").tolist() == [[pytest.approx([2 / 3, 5 / 6], abs=1e-3)]]


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_last_convolution_gives_the_output(name: str) -> None:
    predictor = build(name, 5)
    for header, boxes_per_location in zip(predictor.cls_headers, (4, 6), strict=True):
        path, conv = last_conv(header)
        assert header.get_submodule(path) is conv
        assert conv.out_channels == 5 * boxes_per_location


@torch.no_grad()
@pytest.mark.parametrize("name", ["SharedBoxPredictor", "SharedSSDLiteBoxPredictor"])
def test_levels_share_weights_but_not_batch_norms(name: str) -> None:
    predictor = registry.BOX_PREDICTORS[name]([8, 8], [2, 2], 3, score_function="sigmoid").eval()
    features = torch.randn(1, 8, 4, 4)
    cls_logits, bbox_pred = predictor([features, features])
    assert (cls_logits.shape, bbox_pred.shape) == ((1, 64, 3), (1, 64, 4))
    torch.testing.assert_close(cls_logits[:, :32], cls_logits[:, 32:])
    assert cls_logits.sigmoid().mean() == pytest.approx(0.01, abs=0.001)
    for tower in predictor.towers:
        tower.norms[3][1].bias.fill_(1.0)
    others = predictor([features, features])
    for one, other in zip((cls_logits, bbox_pred), others, strict=True):
        torch.testing.assert_close(one[:, :32], other[:, :32])
        assert (one[:, 32:] - other[:, 32:]).abs().max() > 1e-4
    assert len(predictor.towers) == (1 if "Lite" in name else 2)
    with pytest.raises(ConfigError, match=r"\[8, 16\]"):
        registry.BOX_PREDICTORS[name]([8, 16], [2, 2], 3)


def test_values_of_one_prior_lie_side_by_side() -> None:
    # Two priors a cell, three values each: channel a * 3 + v; one row of two cells, then one cell.
    first = torch.arange(12.0).reshape(1, 6, 1, 2)
    second = 100 + torch.arange(6.0).reshape(1, 6, 1, 1)
    flat = flatten_levels([first, second], 3)
    assert flat.tolist() == [[[0, 2, 4], [6, 8, 10], [1, 3, 5], [7, 9, 11], [100, 101, 102], [103, 104, 105]]]


def test_a_predictor_of_ones_own_must_build_both_headers() -> None:
    class Half(BoxPredictor):
        def cls_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
            return nn.Conv2d(out_channels, boxes_per_location * self.num_classes, 1)

    with pytest.raises(NotImplementedError):
        Half([8], [4], 3)
