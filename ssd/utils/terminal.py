"""The standard output, whose reader may go before the work is done."""

import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """Write to the standard output what ``printable`` makes of a text; nobody need be there any more to read it."""
    _write(lambda: sys.stdout.write(printable(text)))


def say_line(line: str) -> None:
    """Write a line as ``say`` does, above a running progress bar instead of through it."""
    from tqdm import tqdm  # not above: `ssd doctor` speaks where packages are missing, too

    _write(lambda: tqdm.write(printable(line), file=sys.stdout))


def _write(write: Callable[[], object]) -> None:
    if sys.stdout is None or sys.stdout.closed:  # as in a process without a console
        return
    try:
        write()
        sys.stdout.flush()
    except OSError:
        discard_output()


def printable(text: str) -> str:
    """Return text that the standard output can encode; the name of a file or class may be beyond it."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def discard_output() -> None:
    """Let all further output go nowhere.

    For a pipe whose reader has ended, as `head` does, and a terminal that was closed: the work goes on, and neither its
    next line nor the end of the process fails once more.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
