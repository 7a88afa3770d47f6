"""How long does a training step take on images that are ready?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import library, rivals
from benchmarks.default_allocation import default_allocation_timer
from benchmarks.inputs import make_images, make_targets
from benchmarks.operations import count_operations, make_floor_timer
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, Timer, compare, ratio_between
from ssd.structures import Container

_FLOOR = "operations over the matrix peak (floor)"


@dataclass(frozen=True)
class Case:
    """A network and a batch size.

    Attributes:
        name: of the network.
        config: its file in configs/.
        size: side of its input in pixels.
        batch_size: B.
        options: overrides of keys.
        rival: torchvision's nearest detector: name and builder; None = it has none.
        compiled: also measure torch.compile.
    """

    name: str
    config: str
    size: int
    batch_size: int
    options: tuple[Any, ...] = ()
    rival: tuple[str, Callable[[int], nn.Module]] | None = None
    compiled: bool = False


_SSD300 = ("torchvision ssd300_vgg16", rivals.build_ssd300)
_SSDLITE = ("torchvision ssdlite320_mobilenet_v3_large (another network)", rivals.build_ssdlite320)
_CPU_CASES = (
    Case("VGG SSD300", library.VGG_SSD300, 300, 2, rival=_SSD300),
    Case("MobileNetV2 SSDLite320", library.MOBILENET_V2_SSD320, 320, 16, rival=_SSDLITE),
)
_GPU_CASES = (
    Case("VGG SSD300", library.VGG_SSD300, 300, 32, rival=_SSD300),
    Case("VGG SSD300", library.VGG_SSD300, 300, 64, rival=_SSD300, compiled=True),
    Case("ResNet-50 SSD300", library.RESNET50_SSD300, 300, 64),
)
_QUICK_CASES = (Case("tiny SSD96", library.VGG_SSD300, 96, 2, library.TINY, rival=_SSDLITE),)


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure forward, backward and optimizer: in float32 and bfloat16 on a CPU, in bfloat16 on a GPU."""
    cases = _GPU_CASES if plan.is_gpu else _CPU_CASES
    for case in _QUICK_CASES if plan.is_quick else cases:
        yield _measure_on_gpu(plan, case) if plan.is_gpu else _measure_on_cpu(plan, case)


def _measure_on_cpu(plan: Plan, case: Case) -> Comparison:
    with default_allocation_timer(case.config, case.batch_size, case.options) as plain_step:
        return _compare_on_cpu(plan, case, plain_step)


def _compare_on_cpu(plan: Plan, case: Case, plain_step: Timer) -> Comparison:
    step = _make_step(plan, case, "off")
    operations = _count_operations(plan, case)
    bf16, contiguous = "ssd, bf16", "ssd, float32, contiguous memory (lufficc/SSD's format)"
    timers = {
        "ssd, float32": plan.timer(step),
        bf16: plan.timer(_make_step(plan, case, "bf16")),
        contiguous: plan.timer(_make_step(plan, case, "off", channels_last=False)),
        "the same, default allocation": plain_step,
        **_rival_timer(plan, case),
        **_peer_timer(plan, case),
        _FLOOR: make_floor_timer(operations, plan.device, torch.float32),
    }
    comparison = compare(_title(case), timers, plan.effort, items=case.batch_size)
    comparison.facts["bf16 is as many times as fast as contiguous float32"] = ratio_between(
        comparison, contiguous, bf16
    )
    if plan.peer is not None and not comparison.notes:
        comparison.facts["bf16 is as many times as fast as lufficc/SSD"] = ratio_between(
            comparison, "lufficc/SSD", bf16
        )
    return _with_rates(comparison, operations, case)


def _measure_on_gpu(plan: Plan, case: Case) -> Comparison:
    step = _make_step(plan, case, "bf16")
    operations = _count_operations(plan, case)
    timers = {"ssd, bf16": plan.timer(step)}
    if case.compiled:
        timers["ssd, bf16, torch.compile"] = plan.timer(_make_step(plan, case, "bf16", compiled=True))
    timers |= {
        **_rival_timer(plan, case, bf16=True),
        **_peer_timer(plan, case),
        _FLOOR: make_floor_timer(operations, plan.device, torch.bfloat16),
    }
    comparison = compare(_title(case), timers, plan.effort, items=case.batch_size)
    return _with_rates(comparison, operations, case)


def _title(case: Case) -> str:
    return f"Training step: {case.name}, batch {case.batch_size}"


def _make_step(
    plan: Plan, case: Case, amp: str, *, compiled: bool = False, channels_last: bool = True
) -> Callable[[], None]:
    cfg = library.read_config(case.config, *case.options, "SOLVER.AMP", amp, "SOLVER.COMPILE", compiled)
    step = library.TrainingStep(cfg, plan.device, channels_last=channels_last)
    images, targets = _make_batch(plan, case)
    return lambda: step(images, targets)


def _make_batch(plan: Plan, case: Case) -> tuple[Tensor, Container]:
    images = make_images(case.batch_size, case.size, plan.device) - 0.5
    return images, make_targets(case.batch_size, 21, plan.device)


def _count_operations(plan: Plan, case: Case) -> int:
    """Operations of a step: thrice those of the forward pass, whose weights' and inputs' gradients take as many each.

    (PyTorch counts those of depthwise convolutions as if they were dense ones.)
    """
    model = library.build_model(library.read_config(case.config, *case.options), plan.device).train()
    images, targets = _make_batch(plan, case)
    return 3 * count_operations(lambda: model(images, targets))


def _rival_timer(plan: Plan, case: Case, *, bf16: bool = False) -> dict[str, Timer]:
    if case.rival is None:
        return {}
    name, build = case.rival
    step = rivals.TorchvisionStep(build(21), plan.device, bf16=bf16)
    images = list(make_images(case.batch_size, case.size, plan.device))
    targets = rivals.to_torchvision_targets(make_targets(case.batch_size, 21, plan.device), case.size)
    return {f"{name}{', bf16' if bf16 else ''}": plan.timer(lambda: step(images, targets))}


def _peer_timer(plan: Plan, case: Case) -> dict[str, Timer]:
    images, targets = _make_batch(plan, case)
    arrays = {"images": images, "boxes": targets["boxes"], "labels": targets["labels"]}
    return plan.peer_timer("step", arrays, config=case.config, device=str(plan.device))


def _with_rates(comparison: Comparison, operations: int, case: Case) -> Comparison:
    """Add images and operations a second of ours."""
    seconds = comparison.rows[0].value.median / 1000  # an image
    peak = comparison.rows[-1].value.median / 1000
    per_image = operations / case.batch_size
    comparison.facts["images/s"] = 1 / seconds
    comparison.facts["GFLOP an image, forward and backward"] = per_image / 1e9
    comparison.facts["achieved TFLOP/s"] = per_image / seconds / 1e12
    comparison.facts["matrix peak TFLOP/s, measured"] = per_image / peak / 1e12
    return comparison
