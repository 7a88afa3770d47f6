"""Several processes that train or evaluate together: started by torchrun, connected by torch.distributed.

Everything here also works in a single process without torchrun: rank 0 of 1, and nothing is sent. NCCL (GPUs) or gloo
(CPUs) carries gradients; small messages and CPU tensors go through a separate gloo group.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssd.utils.device import select_device
from ssd.utils.errors import ConfigError, DeviceError, TrainingError

T = TypeVar("T")

# How long a process waits for another, which may be evaluating, saving or downloading.
TIMEOUT = timedelta(minutes=30)
# Parts of the messages of a lost connection: gloo raises plain RuntimeErrors.
_LOST = ("gloo/", "monitoredBarrier", "Connection closed by peer", "Connection reset by peer")
_VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_cpu_group: dist.ProcessGroup | None = None  # one a process, like torch.distributed's own state


class Launch(NamedTuple):
    """Place of this process among those that torchrun started: on all machines, and on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def read_launch() -> Launch:
    """Read the environment that torchrun sets; without it there is one process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Launch()
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set: start several processes "
            "with torchrun, or unset WORLD_SIZE"
        )
    return Launch(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


def select_local_device(name: str, launch: Launch) -> torch.device:
    """Return the device of MODEL.DEVICE for this process, or raise DeviceError: each of several takes one GPU."""
    device = select_device(name)
    if launch.world_size == 1 or device.type == "cpu":
        return device
    if ":" in name:
        raise DeviceError(
            f"device {name!r}: with several processes LOCAL_RANK chooses the GPU; set MODEL.DEVICE to cuda or auto"
        )
    count = torch.cuda.device_count()
    if launch.local_rank >= count:
        raise DeviceError(
            f"this machine shows {count} GPU(s) for {launch.local_world_size} processes; start torchrun with "
            f"--nproc_per_node {count}, or set MODEL.DEVICE to cpu"
        )
    return torch.device("cuda", launch.local_rank)


def join_processes(device: torch.device) -> None:
    """Connect all processes that torchrun started; a single process is left alone."""
    global _cpu_group
    if read_launch().world_size == 1:
        return
    store, rank, world_size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    # torchrun keeps its store when it restarts the processes, and with it the addresses of dead ones: each start uses
    # keys of its own.
    store = dist.PrefixStore(f"start {store.add(f'starts of rank {rank}', 1)}", store)
    if device.type == "cuda":
        dist.init_process_group("nccl", store=store, rank=rank, world_size=world_size, device_id=device)
    else:
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
    group = dist.new_group(backend="gloo", timeout=TIMEOUT)
    assert isinstance(group, dist.ProcessGroup)  # every process is a member
    _cpu_group = group


def leave_processes() -> None:
    """Disconnect from the other processes at the end."""
    global _cpu_group
    if is_distributed():
        dist.destroy_process_group()
    _cpu_group = None


def is_distributed() -> bool:
    """Whether this process is connected with others."""
    return dist.is_initialized()


def get_rank() -> int:
    """Return the number of this process."""
    return dist.get_rank() if is_distributed() else 0


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Whether this process has rank 0, which logs and writes."""
    return get_rank() == 0


def parallelise(module: nn.Module) -> nn.Module:
    """Return a module whose gradients are the mean over all processes; in a single process, the module itself.

    Its buffers, such as the statistics of a batch norm that is not synchronised, are those of rank 0 in each step.
    """
    if not is_distributed():
        return module
    device = next(module.parameters()).device
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, gradient_as_bucket_view=True)


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without waiting for the device; torch.compile accepts it."""
    if not is_distributed():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


@torch.no_grad()
def broadcast_state(module: nn.Module) -> None:
    """Copy the weights and buffers of rank 0 to the module of every process."""
    if is_distributed():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def broadcast_text(text: str) -> str:
    """Return the text of rank 0."""
    texts = [text]
    if is_distributed():
        dist.broadcast_object_list(texts, src=0, group=_cpu_group)
    return texts[0]


def gather(value: T) -> list[T] | None:
    """Return the value of each process, by rank, in rank 0; None in others. It is pickled, with tensors on the CPU."""
    if not is_distributed():
        return [value]
    gathered = [value] * get_world_size() if is_main() else None
    dist.gather_object(value, gathered, dst=0, group=_cpu_group)
    return gathered


def wait_for_all(work: str, timeout: timedelta = TIMEOUT) -> None:
    """Wait until every process has finished ``work``, a noun; else raise TrainingError with the missing processes."""
    if not is_distributed():
        return
    try:
        dist.monitored_barrier(_cpu_group, timeout=timeout, wait_all_ranks=True)
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        cause = str(error).partition("\n")[0]
        raise TrainingError(f"not all processes came to the end of {work}: {cause}") from error


@contextmanager
def in_turns() -> Iterator[None]:
    """Run the block, which may download a file, in rank 0 first, then once on each other machine, then in the rest."""
    launch = read_launch() if is_distributed() else Launch()
    turn = 0 if launch.rank == 0 else 1 if launch.local_rank == 0 else 2
    for _ in range(turn):
        wait_for_all("a download")
    yield
    for _ in range(turn, 2):
        wait_for_all("a download")


@contextmanager
def said_once() -> Iterator[None]:
    """Drop the warnings of ranks other than 0 inside the block, which does the same in all processes."""
    logger = logging.getLogger("ssd")
    level = logger.level
    if not is_main():
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def largest_of_all(number: int) -> int:
    """Return the maximum of one number of each process, the same in all: whether to stop, and why."""
    if not is_distributed():
        return number
    largest = torch.tensor([number])
    dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=_cpu_group)
    return int(largest)


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether an error of torch.distributed means that another process has ended, hangs or cannot be reached."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)
