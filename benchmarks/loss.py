"""How long do matching and the loss of SSD300 take, network excluded?"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import library, rivals
from benchmarks.inputs import make_predictions, make_targets
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, Timer, compare
from ssd.modeling.box_head import Predictions, SSDBoxHead
from ssd.structures import Container

_NUM_CLASSES = 21
_CANDIDATES = 5000


@dataclass(frozen=True)
class Problem:
    """What the candidates are given.

    Attributes:
        head: ours.
        targets: the objects, as ours takes them.
        cls_logits: (B, P, C).
        bbox_pred: (B, P, 4).
        theirs: torchvision's head.
        their_targets: the same objects, as torchvision takes them.
    """

    head: SSDBoxHead
    targets: Container
    cls_logits: Tensor
    bbox_pred: Tensor
    theirs: rivals.TorchvisionHead
    their_targets: rivals.Targets

    @property
    def predictions(self) -> Predictions:
        """The predictions as the head gives them."""
        return Predictions(self.cls_logits, self.bbox_pred)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the predictions."""
        torch.autograd.grad(loss, [self.cls_logits, self.bbox_pred], allow_unused=True)

    def cross_entropy(self, labels: Tensor) -> Tensor:
        """Return what any loss of these logits takes at least, of labels (B, P)."""
        return F.cross_entropy(self.cls_logits.flatten(0, 1), labels.flatten())

    def peer_timer(self, plan: Plan, task: str) -> dict[str, Timer]:
        """Return the timer of a task of lufficc/SSD, see ``Plan.peer_timer``."""
        predictions = {"cls_logits": self.cls_logits, "bbox_pred": self.bbox_pred}
        arrays = {"boxes": self.targets["boxes"], "labels": self.targets["labels"], **predictions}
        return plan.peer_timer(task, arrays, device=str(plan.device))


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure matching, the loss forward and backward, and both."""
    batch_size = 2 if plan.is_quick else 32
    problem = make_problem(plan.device, batch_size)
    for question, make_timers in (
        ("Target assignment", _assignment_timers),
        ("Loss, forward and backward", _loss_timers),
        ("Target assignment and loss, forward and backward", _training_loss_timers),
    ):
        title = f"{question}: SSD300, 21 classes, batch {batch_size}, 8 objects an image"
        yield compare(title, make_timers(plan, problem), plan.effort, items=batch_size)


def make_problem(device: torch.device, batch_size: int) -> Problem:
    """Draw objects and predictions."""
    head = library.build_ssd300_head(device, _NUM_CLASSES)
    targets = make_targets(batch_size, _NUM_CLASSES, device)
    predictions = make_predictions(targets, head.priors, _NUM_CLASSES, _CANDIDATES)
    cls_logits, bbox_pred = (tensor.requires_grad_() for tensor in predictions)
    theirs = rivals.TorchvisionHead(device, _NUM_CLASSES, batch_size)
    return Problem(head, targets, cls_logits, bbox_pred, theirs, rivals.to_torchvision_targets(targets, 300))


def _assignment_timers(plan: Plan, problem: Problem) -> dict[str, Timer]:
    head, theirs = problem.head, problem.theirs
    return {
        "ssd, whole batch": plan.timer(lambda: head.matcher(problem.targets, head.priors)),
        "torchvision (matching alone, boxes are not encoded)": plan.timer(lambda: theirs.match(problem.their_targets)),
        **problem.peer_timer(plan, "assignment"),
    }


def _loss_timers(plan: Plan, problem: Problem) -> dict[str, Timer]:
    assigned = problem.head.matcher(problem.targets, problem.head.priors)

    def loss_alone() -> None:
        problem.backward(sum_losses(problem.head.loss(problem.predictions, assigned).normalized()))

    return {"ssd": plan.timer(loss_alone), **_floor_timer(plan, problem), **problem.peer_timer(plan, "loss")}


def _training_loss_timers(plan: Plan, problem: Problem) -> dict[str, Timer]:
    head, theirs = problem.head, problem.theirs
    cls_logits, bbox_pred = problem.predictions

    def match_and_sum() -> Tensor:
        return sum_losses(head.losses(problem.predictions, problem.targets).normalized())

    timers = {"ssd": plan.timer(lambda: problem.backward(match_and_sum()))}
    if plan.device.type == "cuda":
        compiled = torch.compile(match_and_sum)
        timers["ssd, torch.compile"] = plan.timer(lambda: problem.backward(compiled()))
    return timers | {
        **_floor_timer(plan, problem),
        "torchvision": plan.timer(lambda: problem.backward(theirs.loss(cls_logits, bbox_pred, problem.their_targets))),
        **problem.peer_timer(plan, "training_loss"),
    }


def _floor_timer(plan: Plan, problem: Problem) -> dict[str, Timer]:
    labels = problem.head.matcher(problem.targets, problem.head.priors).labels
    timer = plan.timer(lambda: problem.backward(problem.cross_entropy(labels)))
    return {"cross_entropy of the same logits, forward and backward (floor)": timer}


def sum_losses(losses: dict[str, Tensor]) -> Tensor:
    """Return the objective."""
    return torch.stack(list(losses.values())).sum()
