"""Steps that are not finite: left out to the last bit, counted, and without waiting for the device."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD, AdamW, Optimizer

from ssd.engine.finite import FiniteGuard
from ssd.engine.step import StepOptions, step
from ssd.solver import ModelAverage
from ssd.structures import Container
from tests.engine.test_training import WaitsForTheDevice

NAN, INF = float("nan"), float("inf")


class Net(nn.Module):
    """The mean of normalised images, times two weights: losses and gradients can be finite apart from each other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, images: Tensor, targets: Container) -> dict[str, Tensor]:
        mean = self.norm(images).square().mean() + targets["labels"].float().mean()
        return {"reg_loss": self.weight[0] * mean, "cls_loss": _times(self.weight[1], targets["slopes"].mean())}


class _Times(torch.autograd.Function):
    """The value itself, with ``slope`` times its gradient."""

    @staticmethod
    def forward(ctx, value: Tensor, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return gradient * ctx.saved_tensors[0], None


def _times(value: Tensor, slope: Tensor) -> Tensor:
    return _Times.apply(value, slope)


def take(net: nn.Module, optimizer: Optimizer, options: StepOptions, pixel: float = 0.5, slope: float = 1.0) -> dict:
    """A step with four images, one of which has ``pixel``; the gradient of the second weight is times ``slope``."""
    images = torch.arange(16.0).reshape(4, 1, 2, 2) / 16
    images[2, 0, 1, 1] = pixel
    targets = Container(labels=torch.ones(4, 1), slopes=torch.full((4, 1), slope))
    return step(net, optimizer, images, targets, options)


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
@pytest.mark.parametrize("num_parts", [1, 2])
def test_a_bad_step_changes_nothing(
    make_optimizer: Callable[[nn.Module], Optimizer], pixel: float, slope: float, num_parts: int
) -> None:
    """The run goes on as if that step had not been."""
    states = []
    for slopes_and_pixels in ([(0.5, 1.0)] * 2, [(0.5, 1.0), (pixel, slope), (0.5, 1.0)]):
        net = Net()
        optimizer = make_optimizer(net)
        guard = FiniteGuard(net, limit=1)
        options = StepOptions(
            num_parts=num_parts, count_positives=lambda targets: targets["labels"][:, 0], guard=guard, max_norm=9.0
        )
        for one_pixel, one_slope in slopes_and_pixels:
            take(net, optimizer, options, one_pixel, one_slope)
        states.append(state_of(net, optimizer))
    assert_equal(states[1], states[0])
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
    guard = FiniteGuard(net, limit=1)
    options = StepOptions(guard=guard)
    for pixel in (0.5, NAN, 0.5):
        take(net, optimizer, options, pixel)
    last = state_of(net, optimizer)
    for pixel in (NAN, 0.5, 0.5, NAN, 0.5):
        take(net, optimizer, options, pixel)
    assert_equal(state_of(net, optimizer), last)
    assert [bad.iteration for bad in guard.read(8)] == [2, 4]  # what came after the fourth is nobody's fault
    assert guard.count == 2


def test_it_counts_on() -> None:
    net = Net()
    guard = FiniteGuard(net, limit=3)
    guard.count = 3
    optimizer = OPTIMIZERS["sgd"](net)
    take(net, optimizer, StepOptions(guard=guard), NAN)
    last = state_of(net, optimizer)
    take(net, optimizer, StepOptions(guard=guard))
    assert_equal(state_of(net, optimizer), last)
    assert [bad.iteration for bad in guard.read(12)] == [11]


@pytest.mark.parametrize("fused", [True, False])
def test_scaled_losses(fused: bool) -> None:
    """A gradient that overflows is the scaler's business as long as the scale exceeds 1; a loss never is."""
    net = Net()
    optimizer = SGD(net.parameters(), lr=0.1, fused=fused)
    scaler = GradScaler("cpu", init_scale=4.0)
    guard = FiniteGuard(net, limit=9)
    before = state_of(net, optimizer)
    for pixel, slope, scale in ((0.5, INF, 2.0), (0.5, INF, 1.0), (0.5, INF, 0.5), (NAN, 1.0, 0.25)):
        take(net, optimizer, StepOptions(scaler, guard=guard), pixel, slope)
        assert scaler.get_scale() == scale
        assert_equal(state_of(net, optimizer), before)
    assert [bad.iteration for bad in guard.read(4)] == [3, 4]
    take(net, optimizer, StepOptions(scaler, guard=guard))
    assert net.weight.tolist() != [1.0, 2.0]


def test_a_scaled_step_is_the_plain_one() -> None:
    states = []
    for options in (StepOptions(), StepOptions(GradScaler("cpu", init_scale=2.0**10))):
        net = Net()
        options = StepOptions(options.scaler, max_norm=1.0, guard=FiniteGuard(net, limit=0))
        optimizer = OPTIMIZERS["sgd"](net)
        for _ in range(3):
            take(net, optimizer, options)
        states.append(state_of(net, optimizer))
    torch.testing.assert_close(states[1], states[0])


@pytest.mark.parametrize("limit", [0, 1])
def test_the_average_stays_too(limit: int) -> None:
    """Where the run goes on; otherwise nobody looks at it again."""
    net = Net()
    options = StepOptions(average=ModelAverage(net, 0.5), guard=FiniteGuard(net, limit))
    optimizer = OPTIMIZERS["sgd"](net)
    take(net, optimizer, options)
    options.update_average(100)
    assert options.average is not None
    before = copy.deepcopy(options.average.module.state_dict())
    take(net, optimizer, options, NAN)
    options.update_average(101)
    assert all(value.isfinite().all() for value in options.average.module.state_dict().values())
    if limit:
        assert_equal(dict(options.average.module.state_dict()), dict(before))
        take(net, optimizer, options)
        options.update_average(102)
        expected = (before["weight"] + net.weight.detach()) / 2
        torch.testing.assert_close(options.average.module.weight, nn.Parameter(expected, requires_grad=False))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_nothing_waits_for_the_device(name: str) -> None:
    net = Net()
    optimizer = OPTIMIZERS[name](net)
    guard = FiniteGuard(net, limit=2)
    options = StepOptions(GradScaler("cpu"), 1.0, average=ModelAverage(net, 0.5), guard=guard)
    waits = WaitsForTheDevice()
    with waits:
        for iteration, pixel in enumerate((0.5, NAN, 0.5), start=1):
            take(net, optimizer, options, pixel)
            options.update_average(iteration)
    assert waits.count == 0
    assert [bad.iteration for bad in guard.read(3)] == [2]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_on_a_gpu(name: str) -> None:
    """The same, and CUDA itself complains of any operation that would wait."""
    states = []
    for pixels in ((0.5, 0.5), (0.5, NAN, 0.5)):
        net = Net().cuda()
        optimizer = OPTIMIZERS[name](net)
        options = StepOptions(average=ModelAverage(net, 0.5), guard=FiniteGuard(net, limit=1))
        batches = [_on_gpu(pixel) for pixel in pixels]
        torch.cuda.set_sync_debug_mode("error")
        try:
            for images, targets in batches:
                step(net, optimizer, images, targets, options)
                options.update_average(100)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert options.average is not None
        states.append({**state_of(net, optimizer), "average": dict(options.average.module.state_dict())})
    assert_equal(states[1], states[0])


def _on_gpu(pixel: float) -> tuple[Tensor, Container]:
    images = torch.arange(16.0).reshape(4, 1, 2, 2) / 16
    images[2, 0, 1, 1] = pixel
    return images.cuda(), Container(labels=torch.ones(4, 1), slopes=torch.ones(4, 1)).to("cuda")
