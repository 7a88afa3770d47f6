"""The standard output, whose reader may be gone."""

import io
import subprocess
import sys

import pytest

from ssd.utils.terminal import say, say_line


def test_characters_that_the_output_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii", write_through=True))
    say("dä\udcff.jpg\n")
    assert content.getvalue().strip() == b"d\\xe4\\udcff.jpg"


@pytest.mark.parametrize("is_there", [True, False])
def test_without_an_output(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream if is_there else None)
    say("line\n")
    say_line("line")


CHATTY = """
import logging
from ssd.utils.logger import setup_logger
from ssd.utils.terminal import say
setup_logger(None)
for number in range(20_000):
    say(f"line {number}\\n")
    logging.getLogger("ssd").info("line %d", number)
import sys
sys.stderr.write("the work is done\\n")
"""


def test_a_reader_that_ends_does_not_end_the_work() -> None:
    command = [sys.executable, "-c", CHATTY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr.read() == "the work is done\n"
        assert process.wait() == 0
