"""Nothing in a training step makes the host wait for a GPU, and detection does where its result leaves the device."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ssd.data import make_batch_transform
from ssd.engine.flipped import FlippedDetector
from ssd.engine.make import make_step
from ssd.engine.trainer import Intervals, Training, train
from ssd.modeling.detector import SSDDetector
from ssd.solver import ModelAverage, make_lr_scheduler, make_optimizer
from ssd.structures import Container
from ssd.utils.metric_logger import MetricLogger
from tests.stand_in_gpu import GPU, GpuTensor, StandInGpu, make_fused, to_gpu
from tests.tiny import steady_detector, tiny_batch, tiny_config

NUM_STEPS = 2


def batch() -> tuple[Tensor, Container]:
    """uint8 images and their objects."""
    _, targets = tiny_batch()
    images = torch.randint(256, (6, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets["valid_area"] = torch.tensor([0.0, 10, 90, 96]).repeat(6, 1)
    return images, targets


class Monitor:
    """Losses of a training, and the waits before they are reported."""

    def __init__(self, waits: list[str]):
        self.waits, self.losses, self.before_log = waits, MetricLogger(), ["the end"]

    def watch(self, batches):
        for number, batch in enumerate(batches):
            if number == 1:
                self.waits.clear()  # the first batch takes the mean and the deviation of the pixels to the device
            yield batch

    def end_step(self, losses: dict[str, Tensor], num_images: int, lr: float) -> None:
        self.losses.update(**losses)

    def log(self, iteration: int) -> None:
        self.before_log = list(self.waits)


def train_tiny(detector: SSDDetector, batches: list, waits: list[str], *overrides: object) -> tuple[Monitor, Tensor]:
    """Train for two steps, and return the monitor and the average of the weights."""
    cfg = tiny_config("SOLVER.MAX_NONFINITE_STEPS", 2, "SOLVER.BATCH_SIZE", 6, "SOLVER.WARMUP_ITERS", 2, *overrides)
    optimizer = make_fused(make_optimizer(cfg, detector))
    average, monitor = ModelAverage(detector, 0.9), Monitor(waits)
    nothing = SimpleNamespace(signal=0, save=lambda *_, **__: None)
    training = Training(
        *(detector, average, batches, make_batch_transform(cfg, is_train=True)),
        *(make_step(cfg, detector, optimizer, torch.float32), make_lr_scheduler(cfg, optimizer)),
        *(0, NUM_STEPS, 0, Intervals(0, 0, 0)),
        *(monitor, nothing, nothing, lambda _: None, nothing),
    )
    assert train(training)
    return monitor, torch.cat([weight.flatten() for weight in average.module.parameters()])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("SOLVER.MICRO_BATCHES", 2, "SOLVER.GRAD_CLIP", 0.5, "SOLVER.OPTIMIZER", "adamw"),
        ("MODEL.BOX_HEAD.SCORES", "sigmoid", "MODEL.BOX_HEAD.QUALITY", "relative", "MODEL.BOX_HEAD.GIOU_WEIGHT", 1.0),
    ],
    ids=["default", "parts", "quality"],
)
def test_training_never_waits(overrides: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its losses and weights are those of a CPU."""
    images, targets = batch()
    expected, weights = train_tiny(steady_detector(*overrides), [(images, targets, None)] * NUM_STEPS, [], *overrides)
    gpu = StandInGpu(monkeypatch)
    with gpu:
        pinned = images.pin_memory(), targets.pin_memory(), None
        detector = to_gpu(steady_detector(*overrides))
        monitor, found = train_tiny(detector, [pinned] * NUM_STEPS, gpu.waits, *overrides)
    assert monitor.before_log == []
    with gpu:
        assert str(monitor.losses) == str(expected.losses)
        assert isinstance(found, GpuTensor)
    torch.testing.assert_close(found.inner, weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "overrides", [(), ("TEST.CLIP_BOXES", True, "TEST.CLASS_AGNOSTIC_NMS", True)], ids=["default", "clip"]
)
@torch.no_grad()
def test_detection_waits_where_nms_begins_and_ends(overrides: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = tiny_batch()
    overrides += ("TEST.CONFIDENCE_THRESHOLD", 0.0, "TEST.MAX_PER_IMAGE", 5)
    expected = steady_detector(*overrides).eval()(images)
    gpu = StandInGpu(monkeypatch)
    with gpu:
        to_gpu(FlippedDetector(steady_detector(*overrides))).predict(GpuTensor(images))
        assert gpu.waits == []
        detector = to_gpu(steady_detector(*overrides)).eval()
        found = detector(GpuTensor(images))
    # Candidates above the threshold, NMS, and the copies of what was kept: boxes, labels, scores.
    assert gpu.waits == ["nonzero", "nms", *["_to_copy"] * 4]
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours["labels"]) > 0
        torch.testing.assert_close({name: ours[name] for name in ours}, {name: theirs[name] for name in theirs})


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x[torch.tensor([0])],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.cpu(),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: torch.ones(3).to(GPU),
        lambda x: torch.ones(3).to(GPU, non_blocking=True),
        lambda x: torch.ones(3).pin_memory().to(GPU),
    ],
)
def test_what_makes_the_host_wait(wait, monkeypatch: pytest.MonkeyPatch) -> None:
    with StandInGpu(monkeypatch) as gpu:
        x = GpuTensor(torch.ones(3))
        torch.ones(3).pin_memory().to(GPU, non_blocking=True)
        (x * 2)[torch.zeros(2, dtype=torch.int64, device=GPU)].sum()
        assert gpu.waits == []
        wait(x)
        assert gpu.waits
