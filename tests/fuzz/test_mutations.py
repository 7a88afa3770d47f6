"""Damaged annotation files and configs are accepted or refused with an error of ours, within ten seconds.

``pytest -m slow tests/fuzz`` reads ten thousand of them.
"""

import logging
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssd.utils.errors import SSDError
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS

SECONDS = 10
SHARES = {"voc": 30, "split": 8, "coco": 35, "config": 27}  # of 100


class HangError(BaseException):
    """A file is read for too long; no Exception, so that nothing swallows it."""


def raise_hang(*_: object) -> None:
    raise HangError


@pytest.fixture(autouse=True)
def _silent_and_timed() -> Iterator[None]:
    logging.disable()
    old_handler = signal.signal(signal.SIGALRM, raise_hang)
    yield
    signal.signal(signal.SIGALRM, old_handler)
    logging.disable(logging.NOTSET)


def run(count: int, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """Read ``count`` damaged files.

    Returns:
        Number of files by target and outcome of the first step, which leaves nothing out; and each failure of a step:
        target, case and traceback.
    """
    targets: dict[str, Any] = {name: TARGETS[name](folder / name) for name in SHARES}
    outcomes: Counter[tuple[str, str]] = Counter()
    failures: list[str] = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        name = rng.choices(list(SHARES), list(SHARES.values()))[0]
        target = targets[name]
        data = mutate(rng.choice(target.seeds()), target.kind, rng)
        results = [outcome(step, f"{name}, case {number}", failures) for step in target.read(data)]
        outcomes[name, results[0]] += 1
    return outcomes, failures


def outcome(step: Callable[[], object], place: str, failures: list[str]) -> str:
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


@pytest.mark.parametrize(
    ("count", "seed"), [pytest.param(200, 1, id="few"), pytest.param(10_000, 2, id="many", marks=pytest.mark.slow)]
)
def test_damaged_files_give_errors_of_ours(count: int, seed: int, tmp_path: Path) -> None:
    outcomes, failures = run(count, seed, tmp_path)
    assert not failures, "\n".join(failures[:3])
    for name in SHARES:
        assert outcomes[name, "accepted"], "a mutation that nothing survives tests only the first check"
