"""How fast is training from JPEG files, and what does it wait for?"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from benchmarks import library, rivals
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, Timer, compare, make_timer
from ssd.structures import Container

_PROFILED_STEPS = 20

# https://github.com/NVIDIA/DeepLearningExamples, PyTorch/Detection/SSD, README: SSD300 v1.1 with ResNet-50, one A100
# 80 GB, mixed precision, files read by DALI.
_NVIDIA = {"NVIDIA's images/s on an A100, batch 64": 663.0, "NVIDIA's images/s on an A100, batch 128": 724.0}


@dataclass(frozen=True)
class Case:
    """A network, its batch size, and how many workers load.

    Attributes:
        name: of the network.
        config: its file in configs/.
        batch_size: B.
        workers: at most.
        options: overrides of keys.
        rival: torchvision's nearest detector: name, builder, and side of its input in pixels; None = it has none.
        published: figures to compare with.
    """

    name: str
    config: str
    batch_size: int
    workers: int
    options: tuple[Any, ...] = ()
    rival: tuple[str, Callable[[], nn.Module], int] | None = None
    published: dict[str, float] = field(default_factory=dict)


_SSDLITE = ("ssdlite320_mobilenet_v3_large", rivals.build_ssdlite320, 320)
_CPU_CASES = (Case("MobileNetV2 SSDLite320", library.MOBILENET_V2_SSD320, 8, 1, rival=_SSDLITE),)
_GPU_CASES = (
    Case("VGG SSD300", library.VGG_SSD300, 64, 16, rival=("ssd300_vgg16", rivals.build_ssd300, 300)),
    Case("ResNet-50 SSD300", library.RESNET50_SSD300, 64, 16, published=_NVIDIA),
)
_QUICK_CASES = (Case("tiny SSD96", library.VGG_SSD300, 2, 0, library.TINY),)


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure training from the rendered photographs as train.py does it by default on the device."""
    cases = _GPU_CASES if plan.is_gpu else _CPU_CASES
    for case in _QUICK_CASES if plan.is_quick else cases:
        yield _measure(plan, case)


def _measure(plan: Plan, case: Case) -> Comparison:
    loading = ("DATA_LOADER.NUM_WORKERS", case.workers, "SOLVER.BATCH_SIZE", case.batch_size)
    options = (*loading, "MODEL.DEVICE", plan.device.type, *case.options)
    cfg = library.with_photos(library.read_config(case.config, *options), plan.photos)
    training = Training(cfg, plan.device)
    images, targets, _ = next(library.load_batches(cfg, plan.device))
    timers = {
        "ssd, from files": training.timer(),
        "the same steps on one batch that is already there (floor)": plan.timer(lambda: training.step(images, targets)),
        "the loader alone (floor)": _loader_timer(cfg),
        **_rival_timer(plan, case, cfg),
    }
    workers = library.num_workers(cfg)
    title = f"Training from JPEG files: {case.name}, batch {case.batch_size}, {workers} worker(s)"
    comparison = compare(title, timers, plan.effort, items=case.batch_size)
    comparison.facts["images/s"] = 1000 / comparison.rows[0].value.median
    if plan.device.type == "cuda":
        comparison.facts["share of time that the GPU computes"] = training.busy_share()
    comparison.facts.update(case.published)
    return comparison


class Training:
    """Training from files, in a loop like that of train.py.

    Args:
        cfg: names the photographs.
        device: trains there.
    """

    def __init__(self, cfg: Any, device: torch.device):
        self._cfg = cfg
        self._device = device
        self._step = library.TrainingStep(cfg, device)

    def step(self, images: Tensor, targets: Container) -> None:
        """Take one step on uint8 images on the device."""
        self._step(self._step.transform(images, targets, 0), targets)

    def timer(self) -> Timer:
        """Make a timer of steps from files; each turn starts the workers anew and lets them run in."""

        def timer(calls: int) -> float:
            batches = library.load_batches(self._cfg, self._device)
            self._train(islice(batches, _run_in(self._cfg)))
            return make_timer(lambda: self._train(islice(batches, calls)), self._synchronize)(1)

        return timer

    def busy_share(self) -> float:
        """Return the share of the wall-clock time of steps from files in which the GPU runs a kernel or a copy."""
        batches = library.load_batches(self._cfg, self._device)
        self._train(islice(batches, _run_in(self._cfg)))
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            timer = make_timer(lambda: self._train(islice(batches, _PROFILED_STEPS)), self._synchronize)
            seconds = timer(1)
        spans = [
            (event.time_range.start, event.time_range.end)
            for event in profiler.events()
            if event.device_type == DeviceType.CUDA
        ]
        return covered(spans) / 1e6 / seconds

    def _train(self, batches: Iterable[tuple[Tensor, Container, Tensor]]) -> None:
        for images, targets, _ in batches:
            self.step(images, targets)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def _run_in(cfg: Any) -> int:
    """Batches after which the workers' head start is used up."""
    return 1 + 2 * library.num_workers(cfg)


def _loader_timer(cfg: Any) -> Timer:
    def timer(calls: int) -> float:
        batches = iter(library.build_loader(cfg))
        for _ in islice(batches, _run_in(cfg)):
            pass
        return make_timer(lambda: sum(len(images) for images, *_ in islice(batches, calls)))(1)

    return timer


def _rival_timer(plan: Plan, case: Case, cfg: Any) -> dict[str, Timer]:
    if case.rival is None:
        return {}
    name, build, size = case.rival
    is_gpu, workers = plan.device.type == "cuda", library.num_workers(cfg)
    step = rivals.TorchvisionStep(build(), plan.device, bf16=is_gpu)

    def train(batches: Iterable[tuple[Tensor, rivals.Targets]]) -> None:
        for images, targets in batches:
            images = images.to(plan.device, non_blocking=True)
            moved = [{key: value.to(plan.device) for key, value in target.items()} for target in targets]
            step(list(images), moved)

    def timer(calls: int) -> float:
        run_in = _run_in(cfg)
        samples = rivals.AugmentedPhotos(plan.photos, size, length=(calls + run_in) * case.batch_size)
        loader = DataLoader(samples, case.batch_size, num_workers=workers, collate_fn=rivals.collate, pin_memory=is_gpu)
        batches = iter(loader)
        train(islice(batches, run_in))
        return plan.timer(lambda: train(islice(batches, calls)))(1)

    return {f"torchvision {name} and transforms.v2": timer}
