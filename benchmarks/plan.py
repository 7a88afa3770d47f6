"""What the modules of this folder are given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.peer import Array, Peer
from benchmarks.timing import Effort, Timer, make_timer


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        is_gpu: whether the cases are those of a GPU; on a CPU, only to show that they run.
        device: what networks and losses run on.
        effort: how long to measure.
        is_quick: only show that everything runs: small networks, batches and sets.
        photos: the folder of rendered photographs, see ``write_photos``.
        peer: a checkout of lufficc/SSD to measure beside, if one was given.
    """

    is_gpu: bool
    device: torch.device
    effort: Effort
    is_quick: bool
    photos: Path
    peer: Peer | None = None

    def timer(self, function: Callable[[], object]) -> Timer:
        """Make a timer that waits for the device."""
        return make_timer(function, torch.cuda.synchronize if self.device.type == "cuda" else None)

    def peer_timer(self, task: str, arrays: Mapping[str, Array], **options: str) -> dict[str, Timer]:
        """Return the timer of a task of the peer (see ``Peer.timer``) by its name; empty without a peer."""
        return {} if self.peer is None else {"lufficc/SSD": self.peer.timer(task, arrays, **options)}
