"""Log of a run, on the standard output and in OUTPUT_DIR/log.txt; and the output of the commands."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"


def setup_logger(output_dir: str | Path | None, *, rank: int = 0) -> logging.Logger:
    """Send the lines of the "ssd" logger, which all modules use, to the terminal and to log.txt in a folder.

    A second call replaces the setup of the first. Other ranks than 0 write only warnings and errors, to standard error.
    """
    logger = logging.getLogger("ssd")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a library that configures the root logger would print every line twice
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if rank != 0:
        errors = logging.StreamHandler()
        errors.setLevel(logging.WARNING)
        errors.setFormatter(logging.Formatter(f"rank {rank}: {_FORMAT}"))
        logger.addHandler(errors)
        return logger
    logger.addHandler(_TerminalHandler())
    if output_dir is not None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        logger.addHandler(_FileHandler(Path(output_dir, "log.txt"), encoding="utf-8", errors="backslashreplace"))
    for handler in logger.handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
    return logger


def say(text: str) -> None:
    """Write text to the standard output; characters that it cannot encode are escaped."""
    _write(lambda: sys.stdout.write(_printable(text)))


def say_line(line: str) -> None:
    """Write a line as ``say`` does, above a running progress bar."""
    from tqdm import tqdm  # not at the top: `ssd doctor` also works where packages are missing

    _write(lambda: tqdm.write(_printable(line), file=sys.stdout))


def describe_seconds(seconds: float) -> str:
    """Return a time as text: "50 s", "4 min" or "2 h 10 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class _TerminalHandler(logging.Handler):
    """Writes whole lines to files and pipes, and to a terminal the message alone, or ``short`` of the record."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stdout is None or sys.stdout.closed or not sys.stdout.isatty():
            say_line(self.format(record))
            return
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        line = getattr(record, "short", level + record.getMessage())
        if line:  # else a progress bar shows it
            say_line(line)


class _FileHandler(logging.FileHandler):
    """Reports a full disk once, where logging itself prints a traceback for every line."""

    _has_complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_complained:
            self._has_complained = True
            sys.stderr.write(f"{self.baseFilename} cannot be written: {error.strerror}\n")

    def close(self) -> None:
        with suppress(OSError):  # reported by handleError
            super().close()


def _write(write: Callable[[], object]) -> None:
    if sys.stdout is None or sys.stdout.closed:  # as in a process without a console
        return
    try:
        write()
        sys.stdout.flush()
    except OSError:  # the reader of a pipe has ended, as `head` does, or a terminal was closed: the work continues
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _printable(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
