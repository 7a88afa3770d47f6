"""Stopping at a safe point on Ctrl-C, and on the SIGTERM of a scheduler."""

import signal
import threading
from types import FrameType


class InterruptGuard:
    """Context in which the first SIGINT or SIGTERM only sets a flag, so that the work can end at a safe point.

    A second SIGINT raises KeyboardInterrupt at once, unless ``patient``: under torchrun, Ctrl-C in a terminal sends
    two. Further SIGTERMs are ignored: schedulers repeat them. Outside the main thread, where Python delivers no
    signals, this does nothing. ``signal`` is the number of the first signal, None before.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.signal: int | None = None
        self._patient = patient
        is_main_thread = threading.current_thread() is threading.main_thread()
        self._handled = (signal.SIGINT, signal.SIGTERM) if is_main_thread else ()

    @property
    def requested(self) -> bool:
        """Whether the work should end."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """Status of a shell for that signal: 130 for SIGINT, 143 for SIGTERM, 0 without one."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> "InterruptGuard":
        self._previous = [signal.signal(number, self._handle) for number in self._handled]
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in zip(self._handled, self._previous, strict=True):
            signal.signal(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # No logging here: the signal may interrupt a write to the same stream.
        if self.signal is None:
            self.signal = number
        elif number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
