import os
import signal
import threading

import pytest

from ssd.utils.interrupt import InterruptGuard


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted(number: int, status: int) -> None:
    with InterruptGuard() as guard:
        assert not guard.requested
        assert guard.exit_status == 0
        send(number)
        assert guard.requested
    assert (guard.signal, guard.exit_status) == (number, status)


def test_schedulers_repeat_themselves() -> None:
    with InterruptGuard() as guard:
        send(signal.SIGTERM, signal.SIGTERM, signal.SIGTERM)
    assert guard.exit_status == 143


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_person_who_insists_is_obeyed(first: int) -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard():
        send(first, signal.SIGINT)


def test_the_patient_one_keeps_to_the_first() -> None:
    with InterruptGuard(patient=True) as guard:
        send(signal.SIGINT, signal.SIGINT, signal.SIGTERM)
    assert guard.exit_status == 130


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_handlers_are_put_back() -> None:
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
