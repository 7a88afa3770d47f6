"""Damaged annotation files and configs are accepted or refused, nothing else; see run_mutations.py for ten thousand."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.run_mutations import run


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_damaged_files_give_errors_of_ours(tmp_path: Path) -> None:
    outcomes, failures = run(400, seed=1, folder=tmp_path)
    assert not failures, "\n".join(failures[:3])
    assert sum(outcomes.values()) == 400
    for name in ("voc", "split", "coco", "config"):
        assert outcomes[name, "accepted"], "a mutation that nothing survives tests only the first check"


@pytest.mark.slow
def test_ten_thousand_damaged_files_give_errors_of_ours(tmp_path: Path) -> None:
    _, failures = run(10_000, seed=2, folder=tmp_path)
    assert not failures, "\n".join(failures[:3])
