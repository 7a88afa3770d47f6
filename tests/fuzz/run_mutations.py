"""Damages annotation files and configs, reads them, and counts what came of it.

    python -m tests.fuzz.run_mutations --count 10000 --seed 0

Each file is read under every policy. It must be accepted or refused with an error of ``ssd.utils.errors``, within ten
seconds; the exit status is 1 if anything else happened.
"""

import argparse
import logging
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ssd.utils.errors import SSDError
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS

SECONDS = 10
_SHARES = {"voc": 30, "split": 8, "coco": 35, "config": 27}  # of 100


class HangError(BaseException):
    """A file is read for too long; no Exception, so that nothing swallows it."""


def run(count: int, seed: int, folder: Path, names: tuple[str, ...] = tuple(_SHARES)) -> tuple[Counter, list[str]]:
    """Read ``count`` damaged files.

    Returns:
        How many files of each target came to which outcome when they were first read, which is without leaving
        anything out; and what was neither accepted nor refused, then or later: target, case and traceback.
    """
    targets: dict[str, Any] = {name: TARGETS[name](folder / name) for name in names}
    outcomes: Counter[tuple[str, str]] = Counter()
    failures: list[str] = []
    old_handler = signal.signal(signal.SIGALRM, _raise_hang)
    try:
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            name = rng.choices(names, [_SHARES[name] for name in names])[0]
            target = targets[name]
            data = mutate(rng.choice(target.seeds()), target.kind, rng)
            results = [_outcome(step, f"{name}, case {number}", failures) for step in target.read(data)]
            outcomes[name, results[0]] += 1
    finally:
        signal.signal(signal.SIGALRM, old_handler)
    return outcomes, failures


def _outcome(step: Callable[[], object], place: str, failures: list[str]) -> str:
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        step()
    except SSDError as error:
        return type(error).__name__
    except (Exception, HangError):  # noqa: BLE001  # the point of it
        failures.append(f"{place}\n{traceback.format_exc(limit=-6)}")
        return "failure"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "accepted"


def _raise_hang(_signal: int, _frame: FrameType | None) -> None:
    raise HangError


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.disable()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        outcomes, failures = run(args.count, args.seed, Path(folder))
    for (name, outcome), number in sorted(outcomes.items()):
        sys.stdout.write(f"{name:<8}{outcome:<20}{number:>7}\n")
    for failure in failures[:20]:
        sys.stdout.write(f"\n{failure}")
    sys.stdout.write(f"\n{args.count} files, {len(failures)} failures\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
