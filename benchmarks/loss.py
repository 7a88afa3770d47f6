"""How long do matching and the loss of SSD300 take, network excluded?"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import library, rivals
from benchmarks.inputs import make_predictions, make_targets
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, Timer, compare

_NUM_CLASSES = 21
_CANDIDATES = 5000


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure matching, the loss forward and backward, and both."""
    batch_size = 2 if plan.is_quick else 32
    head = library.SSD300Head(plan.device, _NUM_CLASSES)
    targets = make_targets(batch_size, _NUM_CLASSES, plan.device)
    predictions = make_predictions(targets, head.priors, _NUM_CLASSES, _CANDIDATES)
    cls_logits, bbox_pred = (tensor.requires_grad_() for tensor in predictions)
    labels, bbox_targets = head.assign(targets, head.priors)
    theirs = rivals.TorchvisionHead(plan.device, _NUM_CLASSES, batch_size)
    their_targets = rivals.to_torchvision_targets(targets, 300)

    def backward(loss: Tensor) -> None:
        torch.autograd.grad(loss, [cls_logits, bbox_pred], allow_unused=True)

    def match_and_sum() -> Tensor:
        return sum_losses(head.loss(cls_logits, bbox_pred, *head.assign(targets, head.priors)))

    def loss_alone() -> None:
        backward(sum_losses(head.loss(cls_logits, bbox_pred, labels, bbox_targets)))

    def match_and_loss() -> None:
        backward(match_and_sum())

    def cross_entropy() -> None:
        backward(F.cross_entropy(cls_logits.flatten(0, 1), labels.flatten()))

    arrays = {"boxes": targets["boxes"], "labels": targets["labels"], "cls_logits": cls_logits, "bbox_pred": bbox_pred}
    peers = {
        task: plan.peer_timer(task, arrays, device=str(plan.device)) for task in ("assignment", "loss", "training_loss")
    }
    batch = f"SSD300, 21 classes, batch {batch_size}, 8 objects an image"
    timers = {
        "ssd, whole batch": plan.timer(lambda: head.assign(targets, head.priors)),
        "torchvision (matching alone, boxes are not encoded)": plan.timer(lambda: theirs.match(their_targets)),
        **peers["assignment"],
    }
    yield compare(f"Target assignment: {batch}", timers, plan.effort, items=batch_size)

    compiled: dict[str, Timer] = {}
    if plan.device.type == "cuda":
        compiled_sum = torch.compile(match_and_sum)
        compiled["ssd, torch.compile"] = plan.timer(lambda: backward(compiled_sum()))
    floor = {"cross_entropy of the same logits, forward and backward (floor)": plan.timer(cross_entropy)}
    timers = {"ssd": plan.timer(loss_alone), **floor, **peers["loss"]}
    yield compare(f"Loss, forward and backward: {batch}", timers, plan.effort, items=batch_size)

    timers = {
        "ssd": plan.timer(match_and_loss),
        **compiled,
        **floor,
        "torchvision": plan.timer(lambda: backward(theirs.loss(cls_logits, bbox_pred, their_targets))),
        **peers["training_loss"],
    }
    yield compare(f"Target assignment and loss, forward and backward: {batch}", timers, plan.effort, items=batch_size)


def sum_losses(losses: dict[str, Tensor]) -> Tensor:
    """Return the objective."""
    return torch.stack(list(losses.values())).sum()
