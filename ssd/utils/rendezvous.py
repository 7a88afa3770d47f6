"""How the processes that torchrun starts find one another, the first time and after a restart."""

import secrets
import time
from datetime import timedelta

import torch.distributed as dist

from ssd.utils.errors import TrainingError

_SECONDS_BETWEEN_LOOKS = 0.05


def meet(timeout: timedelta) -> tuple[dist.Store, int, int]:
    """Connect with the store of torchrun, and agree with all other processes on a part of it for this start alone.

    torchrun (2.15) keeps its store when it restarts the processes. Where they used the same keys again, the first to
    come would take the addresses of dead processes for those of the new ones.

    Returns:
        That part, the rank of this process, and the number of processes.

    Raises:
        TrainingError: some processes have not come.
    """
    store, rank, world_size = next(dist.rendezvous("env://", timeout=timeout))
    return dist.PrefixStore(agree_on_name(store, rank, world_size, timeout), store), rank, world_size


def agree_on_name(store: dist.Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """Return a name that rank 0 gives this start, though the store may have the keys of earlier ones.

    Each process asks under a word of its own that was never used, and so no old answer can reach it.
    """
    own = secrets.token_hex(8)
    if rank == 0:
        _answer_all(store, own, world_size, time.monotonic() + timeout.total_seconds())
        return own
    store.set(f"question of {rank}", own)
    name = store.get(f"answer to {own}").decode()  # waits for it
    store.set(f"{name} has {rank}", "")
    return name


def _answer_all(store: dist.Store, name: str, world_size: int, deadline: float) -> None:
    """Answer every question, among them those of processes that are gone, until all have got the answer."""
    missing = list(range(1, world_size))
    while missing:
        for rank in missing:
            if store.check([f"question of {rank}"]):
                store.set(f"answer to {store.get(f'question of {rank}').decode()}", name)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        missing = [rank for rank in missing if not store.check([f"{name} has {rank}"])]
        if missing and time.monotonic() > deadline:
            raise TrainingError(f"ranks {', '.join(map(str, missing))} have not come; see what their machines say")
