"""Several processes that train or evaluate as one: started by torchrun, joined by torch.distributed.

Everything here also works in a single process, without torchrun: rank 0 of 1, and nothing is sent. NCCL (GPUs) or gloo
(CPUs) carries gradients; what is small, or lies on the CPU, goes through a gloo group of its own.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssd.utils.errors import TrainingError
from ssd.utils.launch import Launch, read_launch
from ssd.utils.rendezvous import meet

# How long a process waits for another, which may be evaluating, saving or downloading.
TIMEOUT = timedelta(minutes=30)
# What the messages of a lost connection have in them: gloo raises plain RuntimeErrors.
_LOST = ("gloo/", "monitoredBarrier", "Connection closed by peer", "Connection reset by peer")

_cpu_group: dist.ProcessGroup | None = None  # like torch.distributed's own, one a process
_has_means = True  # whether ``mean_over_processes`` asks the others


def join_processes(device: torch.device) -> None:
    """Connect with the other processes that torchrun started; all must call this. Without others it does nothing."""
    global _cpu_group
    if read_launch().world_size == 1:
        return
    store, rank, world_size = meet(TIMEOUT)
    if device.type == "cuda":
        dist.init_process_group("nccl", store=store, rank=rank, world_size=world_size, device_id=device)
    else:
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
    group = dist.new_group(backend="gloo", timeout=TIMEOUT)
    assert isinstance(group, dist.ProcessGroup)  # which every process is a member of
    _cpu_group = group


def leave_processes() -> None:
    """Disconnect, when all is done; does nothing if there is no connection."""
    global _cpu_group
    if is_distributed():
        dist.destroy_process_group()
    _cpu_group = None


def is_distributed() -> bool:
    """Whether this process is joined with others."""
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Return the number of this process."""
    return dist.get_rank() if is_distributed() else 0


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Whether this is the process that logs and writes: that of rank 0."""
    return get_rank() == 0


def parallelise(module: nn.Module) -> nn.Module:
    """Return a module whose gradients are the mean over all processes; alone, the module itself.

    Its buffers, such as the statistics of a batch norm that is not synchronised, are those of rank 0 at each step.
    """
    if not is_distributed():
        return module
    device = next(module.parameters()).device
    return DistributedDataParallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, on its device; without waiting for that, and fit to compile."""
    if not is_distributed() or not _has_means:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


@contextmanager
def without_means() -> Iterator[None]:
    """Let ``mean_over_processes`` return what it is given: each process works on batches of its own."""
    global _has_means
    _has_means = False
    try:
        yield
    finally:
        _has_means = True


@torch.no_grad()
def broadcast_state(module: nn.Module) -> None:
    """Give the module of every process the weights and buffers that it has in rank 0."""
    if is_distributed():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def broadcast_text(text: str) -> str:
    """Return the text that rank 0 gives."""
    if not is_distributed():
        return text
    data = _to_bytes(text.encode() + b"\n")  # an empty tensor is nothing to send
    length = torch.tensor([len(data)])
    dist.broadcast(length, src=0, group=_cpu_group)
    if not is_main():
        data = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(data, src=0, group=_cpu_group)
    return data.numpy().tobytes().decode()[:-1]


def gather_tensors(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]] | None:
    """Bring tensors of the CPU to rank 0; nothing touches a GPU.

    Args:
        tensors: by name; names and shapes may differ from process to process.

    Returns:
        Those of each process, by rank; None in the other processes.
    """
    if not is_distributed():
        return [tensors]
    file = io.BytesIO()
    torch.save(tensors, file)
    message = _to_bytes(file.getvalue())
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(get_world_size())]
    dist.all_gather(lengths, torch.tensor([len(message)]), group=_cpu_group)
    if not is_main():
        dist.send(message, dst=0, group=_cpu_group)
        return None
    gathered = [tensors]
    for rank, length in enumerate(lengths[1:], start=1):
        message = torch.empty(int(length), dtype=torch.uint8)
        dist.recv(message, src=rank, group=_cpu_group)
        gathered.append(torch.load(io.BytesIO(message.numpy().tobytes()), weights_only=True))
    return gathered


def _to_bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def wait_for_all(what: str, timeout: timedelta = TIMEOUT) -> None:
    """Wait until every process has come here.

    Args:
        what: has to be finished before any may go on, for the message.
        timeout: how long to wait.

    Raises:
        TrainingError: some have not come; rank 0 names them.
    """
    if not is_distributed():
        return
    try:
        dist.monitored_barrier(_cpu_group, timeout=timeout, wait_all_ranks=True)
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        cause = str(error).partition("\n")[0]
        raise TrainingError(f"not all processes came to the end of {what}: {cause}") from error


@contextmanager
def in_turns() -> Iterator[None]:
    """Let rank 0 go through the block first, then one process of each other machine, then the rest.

    So what is downloaded is downloaded once a machine, or once where the machines share the folder.
    """
    launch = read_launch() if is_distributed() else Launch()
    turn = 0 if launch.rank == 0 else 1 if launch.local_rank == 0 else 2
    for _ in range(turn):
        wait_for_all("a download")
    yield
    for _ in range(turn, 2):
        wait_for_all("a download")


@contextmanager
def said_once() -> Iterator[None]:
    """Drop the warnings of processes other than rank 0 inside the block, which does the same in all of them."""
    logger = logging.getLogger("ssd")
    level = logger.level
    if not is_main():
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class Agreement:
    """The largest of the numbers that the processes give, the same for all: whether to stop, and why.

    With several processes the answer is about the last call's numbers, so that it has come meanwhile and no process
    waits for another.
    """

    def __init__(self) -> None:
        self._asked: tuple[dist.Work, Tensor] | None = None

    def __call__(self, number: int) -> int:
        """Ask with a number, 0 or more; all processes must call this as often."""
        if not is_distributed():
            return number
        answer = 0
        if self._asked is not None:
            work, largest = self._asked
            work.wait()
            answer = int(largest)
        largest = torch.tensor([number])
        work = dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=_cpu_group, async_op=True)
        assert work is not None  # only for processes that are no members of the group
        self._asked = work, largest
        return answer


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether an error of torch.distributed says that another process has ended, hangs or cannot be reached."""
    if not dist.is_available():
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)
