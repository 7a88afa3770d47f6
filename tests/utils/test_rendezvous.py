"""A name for each start of the same processes on the same store."""

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from ssd.utils.errors import TrainingError
from ssd.utils.rendezvous import agree_on_name, meet

SOON = timedelta(seconds=20)


def start(store: dist.Store, world_size: int, late: int | None = None) -> list[str]:
    """Let each process ask, one of them last; return what each has agreed on."""
    ranks = sorted(range(world_size), key=lambda rank: rank == late)
    with ThreadPoolExecutor(world_size) as pool:
        futures = {rank: pool.submit(agree_on_name, store, rank, world_size, SOON) for rank in ranks}
        return [futures[rank].result(timeout=20) for rank in range(world_size)]


def test_every_start_has_a_name_of_its_own() -> None:
    store = dist.HashStore()
    names = [start(store, 3, late) for late in (None, 0, 1, 2)]
    assert all(len(set(of_start)) == 1 for of_start in names)
    assert len({of_start[0] for of_start in names}) == 4


def test_a_start_that_broke_off_leaves_no_trace() -> None:
    store = dist.HashStore()
    store.set_timeout(timedelta(milliseconds=100))
    for rank in (1, 2):  # rank 0 never came
        with pytest.raises(RuntimeError):  # HashStore's word for its time-out
            agree_on_name(store, rank, 3, SOON)
    with pytest.raises(TrainingError, match="ranks 1, 2 have not come"):  # nor did they, when it had come
        agree_on_name(store, 0, 3, timedelta(seconds=0.2))
    store.set_timeout(SOON)
    assert len(set(start(store, 3))) == 1


def test_one_process_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port), ("RANK", 0), ("WORLD_SIZE", 1)):
        monkeypatch.setenv(name, str(value))
    store, rank, world_size = meet(SOON)
    assert (rank, world_size) == (0, 1)
    store.set("key", "value")
    assert store.get("key") == b"value"
    assert isinstance(store, dist.PrefixStore)
    assert store.underlying_store.check(["key"]) is False  # it has the prefix of this start
