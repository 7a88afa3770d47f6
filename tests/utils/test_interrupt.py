import os
import signal
import threading

import pytest

from ssd.utils.interrupt import InterruptGuard


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("patient", "signals", "status"),
    [
        (False, [signal.SIGINT], 130),
        (False, [signal.SIGTERM] * 3, 143),  # schedulers repeat them
        (True, [signal.SIGINT, signal.SIGINT, signal.SIGTERM], 130),
    ],
)
def test_the_first_signal_sets_the_flag(patient: bool, signals: list[int], status: int) -> None:
    before = handlers()
    with InterruptGuard(patient=patient) as guard:
        assert (guard.requested, guard.exit_status) == (False, 0)
        send(*signals)
        assert guard.requested
    assert (guard.signal, guard.exit_status) == (signals[0], status)
    assert handlers() == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once(first: int) -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard():
        send(first, signal.SIGINT)


def test_it_does_nothing_in_another_thread() -> None:
    requested = []

    def work() -> None:
        with InterruptGuard() as guard:
            requested.append(guard.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [False]
