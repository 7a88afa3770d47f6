"""Steps that are not finite: left out to the last bit, counted, and without waiting for the device."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD, AdamW, Optimizer

from ssd.engine.finite import BadStep, FiniteCheck, FiniteGuard
from ssd.engine.step import Step
from ssd.modeling.box_head import LossSums
from ssd.solver import ModelAverage
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.errors import TrainingError

NAN, INF = float("nan"), float("inf")


class Net(nn.Module):
    """The mean of normalised images, times two weights: losses and gradients can be finite apart from each other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, images: Tensor, targets: Container) -> LossSums:
        total = len(images) * (self.norm(images).square().mean() + targets["labels"].float().mean())
        sums = {"reg_loss": self.weight[0] * total, "cls_loss": _Times.apply(self.weight[1], targets["slopes"].sum())}
        return LossSums(sums, targets["labels"][:, 0])


class _Times(torch.autograd.Function):
    """The value itself, with ``slope`` times its gradient."""

    @staticmethod
    def forward(ctx, value: Tensor, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return gradient * ctx.saved_tensors[0], None


def make_batch(pixel: float, slope: float = 1.0) -> tuple[Tensor, Container]:
    """Four images, one with ``pixel``; the gradient of the second weight is times ``slope``."""
    images = torch.arange(16.0).reshape(4, 1, 2, 2) / 16
    images[2, 0, 1, 1] = pixel
    return images, Container(labels=torch.ones(4, 1), slopes=torch.full((4, 1), slope))


def take(step: Step, pixel: float = 0.5, slope: float = 1.0) -> None:
    step.update(step.forward_backward(*make_batch(pixel, slope)))


def step_of(net: nn.Module, optimizer: Optimizer, limit: int, **options: object) -> Step:
    return Step(net, optimizer, FiniteGuard(net, limit), **options)


def state_of(net: nn.Module, optimizer: Optimizer) -> dict:
    return copy.deepcopy({"model": net.state_dict(), "optimizer": optimizer.state_dict()["state"]})


def assert_equal(found: dict, expected: dict) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda net: SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True),
    "adamw": lambda net: AdamW(net.parameters(), lr=0.1, fused=True),
    "not fused": lambda net: SGD(net.parameters(), lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize(("pixel", "slope"), [(NAN, 1.0), (INF, 1.0), (0.5, INF)], ids=["nan", "inf", "gradient"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_bad_step_changes_nothing(make_optimizer, pixel, slope, micro_batches) -> None:
    """The run goes on as if that step had not been."""
    states = []
    for slopes_and_pixels in ([(0.5, 1.0)] * 2, [(0.5, 1.0), (pixel, slope), (0.5, 1.0)]):
        net = Net()
        optimizer = make_optimizer(net)
        step = step_of(net, optimizer, 1, micro_batches=micro_batches, max_norm=9.0)
        for one_pixel, one_slope in slopes_and_pixels:
            take(step, one_pixel, one_slope)
        states.append(state_of(net, optimizer))
    assert_equal(states[1], states[0])
    guard = step.guard
    assert guard.count == 1
    (bad,) = guard.read(3)
    assert bad.iteration == 2
    assert list(bad.losses) == ["total_loss", "reg_loss", "cls_loss"]
    assert (bad.losses["total_loss"] == bad.losses["total_loss"] < INF) == (slope == INF)
    assert not bad.gradient_norm < INF
    assert guard.read(3) == []


def test_nothing_changes_once_there_were_too_many() -> None:
    net = Net()
    optimizer = OPTIMIZERS["sgd"](net)
    step = step_of(net, optimizer, 1)
    for pixel in (0.5, NAN, 0.5):
        take(step, pixel)
    last = state_of(net, optimizer)
    for pixel in (NAN, 0.5, 0.5, NAN, 0.5):
        take(step, pixel)
    assert_equal(state_of(net, optimizer), last)
    assert [bad.iteration for bad in step.guard.read(8)] == [2, 4]  # later ones are skipped, but not counted
    assert step.guard.count == 2

    step = step_of(net, optimizer, 3)
    step.guard.count = 3  # of the run before
    for pixel in (NAN, 0.5):
        take(step, pixel)
    assert_equal(state_of(net, optimizer), last)
    assert [bad.iteration for bad in step.guard.read(12)] == [11]


@pytest.mark.parametrize("fused", [True, False])
def test_scaled_losses(fused) -> None:
    """A gradient that overflows is the scaler's business as long as the scale exceeds 1; a loss never is."""
    net = Net()
    optimizer = SGD(net.parameters(), lr=0.1, fused=fused)
    scaler = GradScaler("cpu", init_scale=4.0)
    step = step_of(net, optimizer, 9, scaler=scaler)
    before = state_of(net, optimizer)
    for pixel, slope, scale in ((0.5, INF, 2.0), (0.5, INF, 1.0), (0.5, INF, 0.5), (NAN, 1.0, 0.25)):
        take(step, pixel, slope)
        assert scaler.get_scale() == scale
        assert_equal(state_of(net, optimizer), before)
    assert [bad.iteration for bad in step.guard.read(4)] == [3, 4]
    take(step)
    assert net.weight.tolist() != [1.0, 2.0]


@pytest.mark.parametrize("limit", [0, 1])
def test_the_average_stays_too(limit) -> None:
    """The average is unchanged where the training continues; otherwise it is not used again."""
    net = Net()
    average, step = ModelAverage(net, 0.5), step_of(net, OPTIMIZERS["sgd"](net), limit)
    take(step)
    average.update(100, skip=step.guard.skipped)
    before = copy.deepcopy(average.module.state_dict())
    take(step, NAN)
    average.update(101, skip=step.guard.skipped)
    assert all(value.isfinite().all() for value in average.module.state_dict().values())
    if limit:
        assert_equal(dict(average.module.state_dict()), dict(before))
        take(step)
        average.update(102, skip=step.guard.skipped)
        expected = (before["weight"] + net.weight.detach()) / 2
        torch.testing.assert_close(average.module.weight, nn.Parameter(expected, requires_grad=False))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_on_a_gpu(name) -> None:
    """The same, and CUDA itself raises where an operation would wait."""
    states = []
    for pixels in ((0.5, 0.5), (0.5, NAN, 0.5)):
        net = Net().cuda()
        optimizer = OPTIMIZERS[name](net)
        average, step = ModelAverage(net, 0.5), step_of(net, optimizer, 1)
        batches = [(images.cuda(), targets.to("cuda")) for images, targets in map(make_batch, pixels)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            for images, targets in batches:
                step.update(step.forward_backward(images, targets))
                average.update(100, skip=step.guard.skipped)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        states.append({**state_of(net, optimizer), "average": dict(average.module.state_dict())})
    assert_equal(states[1], states[0])


def test_checks() -> None:
    """Weights that are not finite while the next loss is not computed yet."""
    net = Net()
    with torch.no_grad():
        net.weight[0] = INF
    with pytest.raises(TrainingError, match=r"inf after iteration 7.*SOLVER\.LR"):
        FiniteCheck(FiniteGuard(net, 0), Checkpointer(net), lambda iteration: [])(7)


def test_in_words() -> None:
    losses = {"total_loss": INF, "reg_loss": INF, "cls_loss": 2.25}
    assert str(BadStep(12, losses, NAN)) == "the loss is inf at iteration 12 (reg_loss inf, cls_loss 2.25)"
    losses = {"total_loss": 3.5, "reg_loss": 1.25, "cls_loss": 2.25}
    assert str(BadStep(12, losses, NAN)) == "the gradient has the norm nan at iteration 12 (total_loss 3.5)"
