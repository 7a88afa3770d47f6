"""The loss with sigmoid scores, focal weights, soft labels, GIoU and ignored priors, by hand and by torchvision."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from ssd.modeling.anchors import Assignment, BoxCoder
from ssd.modeling.box_head import DenseLoss, MultiBoxLoss, Predictions
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner
from tests.tiny import tiny_detector

LABELS = torch.tensor([[2, 1, 0, 2, -1, 0], [0, 0, 0, 0, 0, 0]])
GT_INDEX = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]])


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Predictions, Assignment]:
    """Two images with 6 priors and 3 classes; three positives of two objects, and one ignored prior."""
    generator = torch.Generator().manual_seed(3)
    cls_logits = torch.randn(2, 6, 3, generator=generator, dtype=dtype).requires_grad_()
    bbox_pred = torch.randn(2, 6, 4, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randn(2, 6, 4, generator=generator, dtype=dtype) * (LABELS > 0)[..., None]
    return Predictions(cls_logits, bbox_pred), Assignment(LABELS, targets, GT_INDEX)


def ious_of(predictions: Predictions, assignment: Assignment) -> Tensor:
    """IoU (B, P) of predicted boxes with their objects, for a prior of any place and size."""
    priors = torch.tensor([[0.3, 0.4, 0.25, 0.1]], dtype=torch.float64)
    boxes, gt_boxes = (
        center_to_corner(BoxCoder().decode(offsets.double(), priors)).flatten(0, 1)
        for offsets in (predictions.bbox_pred.detach(), assignment.bbox_targets)
    )
    overlap = (torch.min(boxes[:, 2:], gt_boxes[:, 2:]) - torch.max(boxes[:, :2], gt_boxes[:, :2])).clamp(min=0).prod(1)
    areas = [(corners[:, 2:] - corners[:, :2]).prod(1) for corners in (boxes, gt_boxes)]
    return (overlap / (areas[0] + areas[1] - overlap)).view(2, 6).float()


@pytest.mark.usefixtures("path_of_loss")
def test_the_defaults_are_those_of_the_paper() -> None:
    predictions, assignment = inputs()
    assignment = assignment._replace(labels=LABELS.clamp(min=0))
    gradients = []
    for loss in (MultiBoxLoss(3), DenseLoss(3, BoxCoder())):
        found = loss(predictions, assignment)
        assert found.num_pos.tolist() == [3, 1]
        gradients.append((found.sums, torch.autograd.grad(sum(found.sums.values()), predictions)))
    (sums, grads), (dense_sums, dense_grads) = gradients
    torch.testing.assert_close(dense_sums, sums)
    torch.testing.assert_close(dense_grads, grads)


def test_the_default_config_builds_the_loss_of_the_paper() -> None:
    """Its value is that of version 1.0.0 to the last bit."""
    model = tiny_detector()
    assert type(model.box_head.loss) is MultiBoxLoss
    rows, columns = torch.meshgrid(torch.arange(len(model.box_head.priors)), torch.arange(4), indexing="ij")
    predictions = Predictions(((rows * 7 + columns * 5) % 11 / 8)[None], ((rows * 3 + columns) % 7 / 8)[None])
    targets = Container(boxes=torch.tensor([[[0.25, 0.25, 0.5, 0.75]]]), labels=torch.tensor([[2]]))
    losses = model.box_head.losses(predictions, targets).normalized()
    recorded = {"reg_loss": 4.736455917358398, "cls_loss": 8.052364349365234}
    assert {name: loss.item() for name, loss in losses.items()} == recorded


@pytest.mark.usefixtures("path_of_loss")
def test_sigmoid_cross_entropy_by_hand() -> None:
    """The logit of the background plays no part; three negatives a positive are the hardest by the summed loss."""
    cls_logits = torch.tensor([[[9.0, 0, 0], [9, 3, -20], [9, 1, -20], [9, 2, -20], [9, 0, -20]]], requires_grad=True)
    labels = torch.tensor([[2, 0, 0, 0, 0]])
    assignment = Assignment(labels, torch.zeros(1, 5, 4), labels)
    loss = DenseLoss(3, BoxCoder(), score_function="sigmoid")
    found = loss(Predictions(cls_logits, torch.zeros(1, 5, 4)), assignment).sums["cls_loss"]
    expected = 2 * F.softplus(torch.tensor(0.0)) + F.softplus(torch.tensor([1.0, 2.0, 3.0])).sum()
    torch.testing.assert_close(found, expected)
    found.backward()
    assert not cls_logits.grad[..., 0].any()
    assert (cls_logits.grad[0, :, 1] != 0).tolist() == [True, True, True, True, False]


@pytest.mark.usefixtures("path_of_loss")
def test_focal_loss_is_torchvisions() -> None:
    predictions, assignment = inputs()
    loss = DenseLoss(3, BoxCoder(), score_function="sigmoid", cls_loss="focal")
    targets = F.one_hot(LABELS.clamp(min=0), 3)[..., 1:].float()
    expected = sigmoid_focal_loss(predictions.cls_logits[..., 1:], targets)[LABELS >= 0].sum()
    torch.testing.assert_close(loss(predictions, assignment).sums["cls_loss"], expected)
    # Softmax: -alpha_t (1 - p)^2 log p, arXiv:1708.02002, eq. 5.
    loss = DenseLoss(3, BoxCoder(), cls_loss="focal")
    own = predictions.cls_logits.log_softmax(2).gather(2, LABELS.clamp(min=0)[..., None])[..., 0]
    alpha = torch.where(LABELS > 0, 0.25, 0.75)
    expected = (-alpha * (1 - own.exp()) ** 2 * own)[LABELS >= 0].sum()
    torch.testing.assert_close(loss(predictions, assignment).sums["cls_loss"], expected)


@pytest.mark.usefixtures("path_of_loss")
@pytest.mark.parametrize("cls_loss", ["mined", "focal"])
@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_ignored_priors_are_in_no_loss(cls_loss: str, score_function: str) -> None:
    predictions, assignment = inputs()
    options: dict[str, Any] = {"score_function": score_function, "cls_loss": cls_loss, "giou_weight": 2.0}
    loss = DenseLoss(100, BoxCoder(), quality="relative", **options)
    cls_grad, bbox_grad = torch.autograd.grad(sum(loss(predictions, assignment).sums.values()), predictions)
    assert torch.equal(cls_grad.abs().sum(2) > 0, LABELS >= 0)
    assert torch.equal(bbox_grad.abs().sum(2) > 0, LABELS > 0)
    assert torch.equal(loss.mine(predictions, assignment)[1], LABELS == 0)


@pytest.mark.usefixtures("path_of_loss")
def test_soft_labels() -> None:
    predictions, assignment = inputs()
    iou = ious_of(predictions, assignment)
    best = torch.stack([iou[0, [0, 3]].max(), iou[0, 1]])  # priors 0 and 3 share an object
    assert (iou[0, [0, 1, 3]] > 0).all()
    for quality, target in (("iou", iou), ("relative", iou / best[GT_INDEX])):
        target = torch.where(LABELS > 0, target, 1)
        log_scores = predictions.cls_logits.log_softmax(2)
        own = log_scores.gather(2, LABELS.clamp(min=0)[..., None])[..., 0]
        expected = (-target * own - (1 - target) * log_scores[..., 0])[LABELS >= 0].sum()
        found = DenseLoss(100, BoxCoder(), quality=quality)(predictions, assignment).sums["cls_loss"]
        torch.testing.assert_close(found, expected)
        one_hot = F.one_hot(LABELS.clamp(min=0), 3)[..., 1:] * target[..., None]
        losses = F.binary_cross_entropy_with_logits(predictions.cls_logits[..., 1:], one_hot, reduction="none")
        loss = DenseLoss(100, BoxCoder(), quality=quality, score_function="sigmoid")
        torch.testing.assert_close(loss(predictions, assignment).sums["cls_loss"], losses[LABELS >= 0].sum())
    (gradient,) = torch.autograd.grad(found, predictions.bbox_pred, allow_unused=True)
    assert gradient is None


@pytest.mark.usefixtures("path_of_loss")
def test_giou_is_that_of_the_boxes_at_their_priors() -> None:
    """IoU and GIoU do not change when an axis is scaled, so no prior is needed."""
    predictions, assignment = inputs(torch.float64)
    priors = torch.rand(6, 4, dtype=torch.float64) * 0.5 + 0.1
    rows = LABELS > 0
    boxes, gt_boxes = (
        center_to_corner(BoxCoder().decode(offsets, priors))[rows]
        for offsets in (predictions.bbox_pred, assignment.bbox_targets)
    )
    expected = 3 * generalized_box_iou_loss(boxes, gt_boxes, reduction="sum", eps=0)
    found = DenseLoss(3, BoxCoder(), l1_weight=0.0, giou_weight=3.0)(predictions, assignment).sums["reg_loss"]
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(expected, 3 * (1 - generalized_box_iou(boxes, gt_boxes).diagonal()).sum())
    gradients = [torch.autograd.grad(value, predictions.bbox_pred)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)
