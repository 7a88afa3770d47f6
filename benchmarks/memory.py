"""How much memory does a training step need at its peak?

On a CPU the peak is that of a process, so each candidate gets one of its own:
``python -m benchmarks.memory 4 ours-vgg`` prints the growth in MiB.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import library, rivals
from benchmarks.inputs import make_images, make_targets
from benchmarks.plan import Plan
from benchmarks.processes import environment_with
from benchmarks.timing import Comparison, NotMeasuredError, Row, Spread

_NAMES = {
    "vgg": ("ssd, VGG SSD300", "torchvision ssd300_vgg16"),
    "lite": ("ssd, MobileNetV2 SSDLite320", "torchvision ssdlite320_mobilenet_v3_large (another network)"),
}


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure two training steps of VGG SSD300 (of small networks in a smoke run)."""
    network = "lite" if plan.is_quick else "vgg"
    candidates = [f"{owner}-{network}" for owner in ("ours", "torchvision")]
    if plan.device.type == "cuda":
        title, batch_size = "GPU memory at the peak of a training step, bf16", 64
        peaks = [_peak_of_gpu(candidate, batch_size) for candidate in candidates]
    else:
        title, batch_size = "Memory at the peak of a training step, above that before it", 2 if plan.is_quick else 4
        processes = [candidates] if plan.is_quick else [[candidate] for candidate in candidates]
        peaks = [peak for names in processes for peak in _peaks_of_process(names, batch_size)]
    yield _make_comparison(f"{title}: batch {batch_size}", _NAMES[network], peaks)


def make_step(candidate: str, batch_size: int, device: torch.device, *, bf16: bool = False) -> Callable[[], None]:
    """Return a training step of ours-vgg, ours-lite, torchvision-vgg or torchvision-lite."""
    owner, network = candidate.split("-")
    size = 300 if network == "vgg" else 320
    images = make_images(batch_size, size, device)
    targets = make_targets(batch_size, 21, device)
    if owner == "torchvision":
        build = rivals.build_ssd300 if network == "vgg" else rivals.build_ssdlite320
        theirs = rivals.TorchvisionStep(build(), device, bf16=bf16)
        return lambda: theirs(list(images), rivals.to_torchvision_targets(targets, size))
    library.prepare_process(device)
    config = library.VGG_SSD300 if network == "vgg" else library.MOBILENET_V2_SSD320
    ours = library.TrainingStep(library.read_config(config, "SOLVER.AMP", "bf16" if bf16 else "off"), device)
    return lambda: ours(images, targets)


def _make_comparison(title: str, names: tuple[str, str], peaks: Sequence[float]) -> Comparison:
    ours, theirs = peaks
    rows = [
        Row(names[0], Spread.of([ours]), rounds=[ours]),
        Row(names[1], Spread.of([theirs]), Spread.of([ours / theirs]), [theirs]),
    ]
    return Comparison(title, "MiB", rows)


def _peak_of_gpu(candidate: str, batch_size: int) -> float:
    step = make_step(candidate, batch_size, torch.device("cuda"), bf16=True)
    step()  # allocates what the optimizer keeps
    torch.cuda.reset_peak_memory_stats()
    step()
    mebibytes = torch.cuda.max_memory_allocated() / 2**20
    del step
    torch.cuda.empty_cache()
    return mebibytes


def _peaks_of_process(candidates: Sequence[str], batch_size: int) -> list[float]:
    """Start a process for the candidates; the allocator of an earlier one may serve a later one."""
    command = [sys.executable, "-m", "benchmarks.memory", str(batch_size), *candidates]
    run = subprocess.run(command, env=environment_with(library.ROOT), capture_output=True, text=True)
    if run.returncode != 0:
        raise NotMeasuredError(f"{' '.join(command[1:])} failed: {run.stderr.strip()[-500:]}")
    return [float(line) for line in run.stdout.splitlines()]


def _growth(candidate: str, batch_size: int) -> float:
    """MiB by which the peak of this process exceeds, during two training steps, what it held before (Linux)."""
    torch.set_num_threads(1)
    step = make_step(candidate, batch_size, torch.device("cpu"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    step()
    step()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A field of this process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        sys.stdout.write(f"{_growth(name, int(sys.argv[1]))}\n")
