import os
import signal
import threading

import pytest

from ssd.utils.interrupt import InterruptGuard


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_sets_the_flag(number: int, status: int) -> None:
    with InterruptGuard() as guard:
        assert not guard.requested
        assert guard.exit_status == 0
        send(number)
        assert guard.requested
    assert (guard.signal, guard.exit_status) == (number, status)


@pytest.mark.parametrize(
    ("patient", "signals", "status"),
    [
        (False, [signal.SIGTERM] * 3, 143),  # schedulers repeat them
        (True, [signal.SIGINT, signal.SIGINT, signal.SIGTERM], 130),
    ],
)
def test_further_signals_that_change_nothing(patient: bool, signals: list[int], status: int) -> None:
    with InterruptGuard(patient=patient) as guard:
        send(*signals)
    assert guard.exit_status == status


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once(first: int) -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard():
        send(first, signal.SIGINT)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_handlers_are_restored() -> None:
    before = handlers()
    with InterruptGuard():
        assert not set(handlers()) & set(before)
    assert handlers() == before


def test_it_does_nothing_in_another_thread() -> None:
    requested = []

    def work() -> None:
        with InterruptGuard() as guard:
            requested.append(guard.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [False]
