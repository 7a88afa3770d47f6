"""The command: ``python -m benchmarks [names] [--suite cpu|gpu] [--json FILE] [--peer PATH] [--quick]``, or
``python -m benchmarks accuracy ...``, which trains (see ``accuracy``)."""

import argparse
import contextlib
import importlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks import accuracy, library
from benchmarks.machine import describe_machine
from benchmarks.peer import Peer
from benchmarks.photos import write_photos
from benchmarks.plan import Plan
from benchmarks.report import HEADER, format_comparison, format_machine, to_json
from benchmarks.timing import QUICK, Effort, NotMeasuredError

# The modules of each suite, in the order of its run. The GPU's come by importance: its time is short.
SUITES = {
    "cpu": (
        *("loader", "loss", "post_processing", "training_step", "inference"),
        *("end_to_end", "evaluation", "import_time", "memory"),
    ),
    "gpu": ("training_step", "end_to_end", "inference", "loss", "post_processing", "memory"),
}
_NUM_PHOTOS = {"cpu": 48, "gpu": 512}
_LIMITS = {"cpu": math.inf, "gpu": 480.0}  # seconds after which nothing more is begun
_EFFORTS = {"cpu": Effort(), "gpu": Effort(rounds=5, seconds=0.6, limit=8.0)}


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the library.")
    names = sorted({name for suite in SUITES.values() for name in suite})
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to measure, by default all: {', '.join(names)}; or accuracy"
    )
    parser.add_argument("--suite", choices=SUITES, default="cpu", help="default cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--peer", type=Path, metavar="PATH", help="a checkout of lufficc/SSD to measure beside")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of PyTorch and OpenCV; default 1")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs; the figures mean nothing")
    parsed = parser.parse_args(args)
    unknown = sorted(set(parsed.names) - set(SUITES[parsed.suite]))
    if unknown:
        parser.error(f"suite {parsed.suite} has no {', '.join(unknown)}; it has {', '.join(SUITES[parsed.suite])}")
    return parsed


def main(args: Sequence[str] | None = None) -> int:
    """Measure; return 1 if anything that was asked for could not be."""
    args = sys.argv[1:] if args is None else args
    if args[:1] == ["accuracy"]:
        return accuracy.main(args[1:])
    parsed = parse_args(args)
    if parsed.suite == "gpu" and not parsed.quick and not torch.cuda.is_available():
        _say("suite gpu needs a CUDA device, and torch sees none here; with --quick its cases run on the CPU")
        return 1
    torch.manual_seed(0)
    torch.set_num_threads(parsed.threads)
    cv2.setNumThreads(parsed.threads)
    report: dict[str, Any] = {
        "suite": parsed.suite,
        "quick": parsed.quick,
        "machine": describe_machine(),
        "comparisons": [],
        "failures": [],
    }
    _say(format_machine(report["machine"]), "", HEADER, "")
    with contextlib.ExitStack() as stack:
        try:
            plan = _make_plan(parsed, stack)
        except NotMeasuredError as error:
            _say(str(error))
            return 1
        stop = time.perf_counter() + _LIMITS[parsed.suite]
        for name in parsed.names or SUITES[parsed.suite]:
            _measure(name, plan, report, parsed.json, stop)
    return 1 if report["failures"] else 0


def _make_plan(parsed: argparse.Namespace, stack: contextlib.ExitStack) -> Plan:
    is_gpu = parsed.suite == "gpu"
    device = torch.device("cuda" if is_gpu and torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # as in training: inputs have one size
    library.prepare_process(device)
    photos = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_photos(photos, 4 if parsed.quick else _NUM_PHOTOS[parsed.suite])
    return Plan(
        is_gpu=is_gpu,
        device=device,
        effort=QUICK if parsed.quick else _EFFORTS[parsed.suite],
        is_quick=parsed.quick,
        photos=photos,
        peer=stack.enter_context(Peer(parsed.peer)) if parsed.peer else None,
    )


def _measure(name: str, plan: Plan, report: dict[str, Any], path: Path | None, stop: float) -> None:
    """Run one module until the time ``stop``; print its comparisons, and add them to the report and the file."""
    started = time.perf_counter()
    try:
        for comparison in _run(name, plan, stop):
            _say(format_comparison(comparison), "")
            report["comparisons"].append({"name": name, **to_json(comparison)})
            _save(report, path)  # after each: a run that is cut short leaves what it has
    except (NotMeasuredError, RuntimeError) as error:  # PyTorch's errors are RuntimeErrors; the others go on
        _say(f"{name}: not measured: {error}", "")
        report["failures"].append(f"{name}: {error}")
        _save(report, path)
    _say(f"({name}: {time.perf_counter() - started:.0f} s)", "")


def _save(report: dict[str, Any], path: Path | None) -> None:
    if path:
        path.write_text(json.dumps(report, indent=1) + "\n")


def _run(name: str, plan: Plan, stop: float) -> Iterator[Any]:
    comparisons = importlib.import_module(f"benchmarks.{name}").run(plan)
    while time.perf_counter() < stop:
        comparison = next(comparisons, None)
        if comparison is None:
            return
        yield comparison
    raise NotMeasuredError("the time of the suite is over; run what is missing by its name")


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
