"""Writing to the standard output, which may be closed before the work is done."""

import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """Write text to the standard output; characters that it cannot encode are escaped."""
    _write(lambda: sys.stdout.write(_printable(text)))


def say_line(line: str) -> None:
    """Write a line as ``say`` does, above a running progress bar."""
    from tqdm import tqdm  # not at the top: `ssd doctor` also works where packages are missing

    _write(lambda: tqdm.write(_printable(line), file=sys.stdout))


def _write(write: Callable[[], object]) -> None:
    if sys.stdout is None or sys.stdout.closed:  # as in a process without a console
        return
    try:
        write()
        sys.stdout.flush()
    except OSError:  # the reader of a pipe has ended, as `head` does, or a terminal was closed: the work goes on
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _printable(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
