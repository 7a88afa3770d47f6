"""The training objective: by hand, mining, images without objects, recorded losses and gradients, compilation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssd.modeling.anchors import Assignment, BoxCoder, IoUMatcher
from ssd.modeling.box_head import DenseLoss, MultiBoxLoss, Predictions
from ssd.modeling.box_head.loss import hard_negative_mining
from ssd.structures import Container


def losses_of(cls_logits, bbox_pred, labels, bbox_targets, gt_index=None) -> dict[str, Tensor]:
    gt_index = torch.zeros_like(labels) if gt_index is None else gt_index
    return MultiBoxLoss(3)(Predictions(cls_logits, bbox_pred), Assignment(labels, bbox_targets, gt_index)).normalized()


def test_two_priors_by_hand() -> None:
    # One positive with even logits (cross-entropy ln 2) whose offsets miss by 0.5 (smooth L1 0.125) and 2 (1.5); one
    # negative with background probability 1 / (1 + e). One positive, so both sums are divided by 1.
    cls_logits = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    bbox_pred = torch.tensor([[[0.5, 0.0, 2.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    losses = losses_of(cls_logits, bbox_pred, torch.tensor([[1, 0]]), torch.zeros(1, 2, 4))
    assert list(losses) == ["reg_loss", "cls_loss"]
    assert losses["reg_loss"].item() == pytest.approx(1.625)
    assert losses["cls_loss"].item() == pytest.approx(math.log(2) + math.log(1 + math.e))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.sampled_from([2, 10**6]), st.floats(0, 1))
def test_mining_equals_a_stable_sort(seed: int, num_priors: int, num_values: int, positives: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.randint(0, num_values, (4, num_priors), generator=generator) / 7  # 2 values: ties, in any order
    labels = (torch.rand(4, num_priors, generator=generator) < positives).long()
    copies = loss.clone(), labels.clone()
    mask = hard_negative_mining(loss, labels, 3)
    assert torch.equal(loss, copies[0])
    assert torch.equal(labels, copies[1])
    for image in range(4):
        is_negative = labels[image] == 0
        order = loss[image].argsort(descending=True, stable=True)
        num_neg = 3 * max(1, int(labels[image].sum()))
        chosen = loss[image][mask[image]].sort(descending=True).values
        assert torch.equal(chosen, loss[image][order[is_negative[order]][:num_neg]])
        assert not (mask[image] & ~is_negative).any()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_mining_does_not_hide_a_nan(sign: float) -> None:
    loss = torch.rand(1, 20)
    loss[0, 7] = math.copysign(math.nan, sign)
    assert hard_negative_mining(loss, torch.zeros(1, 20, dtype=torch.int64), 3)[0, 7]


def test_an_image_without_objects_teaches_its_three_hardest_negatives() -> None:
    cls_logits = torch.randn(1, 50, 4, requires_grad=True)
    losses = losses_of(cls_logits, torch.randn(1, 50, 4), torch.zeros(1, 50, dtype=torch.int64), torch.zeros(1, 50, 4))
    losses["cls_loss"].backward()
    negatives = -cls_logits.detach().log_softmax(2)[..., 0]
    assert losses["cls_loss"].item() == pytest.approx(negatives.topk(3).values.sum().item(), rel=1e-5)
    assert losses["reg_loss"].item() == 0
    assert (cls_logits.grad.abs().sum(dim=2) > 0).sum() == 3


def test_empty_images_do_not_change_the_loss_of_the_others_per_object() -> None:
    # The normaliser counts an empty image as one object: with a copy of a one-object image it is exactly that.
    predictions = Predictions(torch.randn(2, 30, 3), torch.randn(2, 30, 4))
    labels = torch.zeros(2, 30, dtype=torch.int64)
    labels[0, 4] = 1
    sums = MultiBoxLoss(3)(predictions, Assignment(labels, torch.zeros(2, 30, 4), labels))
    assert sums.num_pos.tolist() == [1, 1]
    first, second = (
        losses_of(cls_logits[None], bbox_pred[None], own[None], torch.zeros(1, 30, 4))
        for cls_logits, bbox_pred, own in zip(*predictions, labels, strict=True)
    )
    for name, value in sums.normalized().items():
        torch.testing.assert_close(value, sums.sums[name] / 2)
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)


def test_mining_golden(goldens: Path) -> None:
    golden = np.load(goldens / "lufficc" / "hard_negative_mining.npz")
    labels = torch.from_numpy(golden["labels"])
    mask = hard_negative_mining(torch.from_numpy(golden["loss"]), labels, int(golden["neg_pos_ratio"])) | (labels > 0)
    expected = torch.from_numpy(golden["mask"])
    assert torch.equal(mask[[0, 1, 3]], expected[[0, 1, 3]])
    # Row 2 has no object: lufficc/SSD selects nothing there, we the three hardest negatives.
    assert expected[2].sum() == 0
    assert mask[2].sum() == 3


@pytest.mark.usefixtures("path_of_loss")
@pytest.mark.parametrize("prefix", ["a", "b"])
def test_loss_golden(goldens: Path, prefix: str) -> None:
    archive = np.load(goldens / "lufficc" / "multibox_loss.npz")
    golden = {key[2:]: torch.from_numpy(archive[key]) for key in archive if key.startswith(f"{prefix}_")}
    cls_logits = golden["confidence"].requires_grad_()
    bbox_pred = golden["predicted_locations"].requires_grad_()
    assert archive["neg_pos_ratio"] == 3
    losses = losses_of(cls_logits, bbox_pred, golden["labels"], golden["gt_locations"])
    for name in ("reg_loss", "cls_loss"):
        torch.testing.assert_close(losses[name], golden[name], rtol=1e-6, atol=1e-6)
    sum(losses.values()).backward()
    torch.testing.assert_close(cls_logits.grad, golden["grad_confidence"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(bbox_pred.grad, golden["grad_locations"], rtol=1e-5, atol=1e-7)


def objective_inputs(num_gts: int) -> tuple[Tensor, ...]:
    """cls_logits, bbox_pred, gt_boxes, gt_labels, priors (centre form) of two images and 40 priors."""
    boxes = torch.rand(2, num_gts, 2, 2).sort(dim=2).values.flatten(2)
    labels = torch.randint(0, 3, (2, num_gts))
    priors = torch.rand(40, 4) * 0.4 + 0.1
    inputs = (torch.randn(2, 40, 3), torch.randn(2, 40, 4), boxes, labels, priors)
    return tuple(tensor.requires_grad_(index < 2) for index, tensor in enumerate(inputs))


QUALITY = DenseLoss(3, BoxCoder(), score_function="sigmoid", quality="relative", giou_weight=2.0)


@pytest.mark.parametrize(("loss", "ignore"), [(MultiBoxLoss(3), 1.0), (QUALITY, 0.4)], ids=["paper", "quality"])
def test_compiled_equals_eager_for_any_number_of_objects(loss: MultiBoxLoss, ignore: float) -> None:
    """One graph from ground truth to loss. More counts than the recompile limit: the graph must serve all of them."""
    matcher = IoUMatcher(0.5, BoxCoder(), ignore)

    def compute(cls_logits: Tensor, bbox_pred: Tensor, gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor) -> Tensor:
        assignment = matcher(Container(boxes=gt_boxes, labels=gt_labels), priors)
        return sum(loss(Predictions(cls_logits, bbox_pred), assignment).normalized().values())

    torch.compiler.reset()
    compiled = torch.compile(compute, fullgraph=True, backend="aot_eager")
    for num_gts in (*range(12), 50):  # the last are more than the priors
        inputs = objective_inputs(num_gts)
        value, expected = compiled(*inputs), compute(*inputs)
        torch.testing.assert_close(value, expected)
        gradients, expected_gradients = (torch.autograd.grad(one, inputs[:2]) for one in (value, expected))
        torch.testing.assert_close(gradients, expected_gradients)
