"""The parts of a job as a Ray Data job: detectors on the machines of a cluster detect in them and write them."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ssd.config import Config, parse_config
from ssd.inference.api import make_predictor
from ssd.inference.predictor import Predictor
from ssd.tools.bulk.part_folder import PartFolder
from ssd.tools.bulk.worker import detect_part, show_progress
from ssd.utils.device import select_device
from ssd.utils.errors import DeviceError, SSDError, import_extra
from ssd.utils.interrupt import InterruptGuard
from ssd.weights.loaded_checkpoint import LoadedCheckpoint

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10
_SEPARATOR = b"\0"  # between paths, which cannot have it


@dataclass
class DetectorActor:
    """A detector in a process of its own, which gets parts from Ray Data."""

    config: str  # YAML
    checkpoint: Any  # reference to a LoadedCheckpoint in the memory of the cluster
    device: str
    folder: PartFolder
    batch_size: int
    working_folder: str  # of relative paths

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Detect in a part: one row (``part``, joined ``files``) in, one row (``num_images``, ``error``) out."""
        (part,), (joined,) = batch["part"], batch["files"]
        files, error = [os.fsdecode(file) for file in joined.split(_SEPARATOR)], ""
        try:
            rows = detect_part(self.predictor, files, self.folder.job, int(part), self.batch_size)
            self.folder.write(int(part), list(rows))
        except SSDError as caught:  # else Ray wraps it in its tracebacks
            error = str(caught)
        return {"num_images": np.array([len(files)]), "error": np.array([error])}

    @cached_property
    def predictor(self) -> Predictor:
        """The detector, built for the first part."""
        with contextlib.suppress(FileNotFoundError):  # not needed where all paths are absolute
            os.chdir(self.working_folder)
        self.folder.check_shared()
        checkpoint = import_extra("ray", "ray").get(self.checkpoint)
        cfg = parse_config(self.config, "config of the job")
        return make_predictor(cfg, checkpoint, self.folder.job.class_names, select_device(self.device))


def run_on_ray(
    cfg: Config,
    checkpoint: LoadedCheckpoint,
    files: Sequence[str],
    folder: PartFolder,
    parts: Sequence[int],
    *,
    batch_size: int,
    address: str | None,
    num_actors: int | None,
) -> int:
    """Detect in the parts of a job on a Ray cluster; all machines must share the folder.

    ``files`` are the images of the whole job. ``address`` None is the cluster of this machine, or else a new one;
    ``num_actors`` None is one detector per GPU, or per core if there is no GPU. Return 0, or the exit status of Ctrl-C
    or SIGTERM, which end the job when the next part is done.
    """
    ray, ray_data = import_extra("ray", "ray"), import_extra("ray.data", "ray")
    if not parts:
        return 0
    # Ray handles SIGTERM itself, so the guard comes after it.
    with _cluster(ray, address), InterruptGuard() as interrupt:
        device, num_workers = choose_workers(cfg.MODEL.DEVICE, ray.cluster_resources(), num_actors)
        num_workers = min(num_workers, len(parts))
        logger.info("%d detectors on %s of a Ray cluster", num_workers, "GPUs" if device == "cuda" else "cores")
        weights = ray.put(LoadedCheckpoint(checkpoint.weights, checkpoint.source))
        resources = {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
        done = ray_data.from_items(_make_rows(files, folder, parts), override_num_blocks=len(parts)).map_batches(
            DetectorActor,
            fn_constructor_args=(cfg.dump(), weights, device, folder, batch_size, os.getcwd()),
            batch_size=1,
            compute=ray_data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
            **resources,
        )
        with show_progress(folder.job.count_images(parts)) as progress:
            for row in done.iter_rows():
                if row["error"]:
                    raise SSDError(row["error"])
                progress.update(int(row["num_images"]))
                if interrupt.requested:
                    break
    return interrupt.exit_status


def _make_rows(files: Sequence[str], folder: PartFolder, parts: Sequence[int]) -> list[dict[str, Any]]:
    encoded = [os.fsencode(file) for file in files]
    return [{"part": part, "files": _SEPARATOR.join(encoded[folder.job.slice_of(part)])} for part in parts]


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster; only a new one ends afterwards."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it logs its plan, and progress every second
    try:
        if address is not None:
            check_reachable(address)
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
    except OSError as error:
        raise DeviceError(f"no Ray cluster at {address}: {error}; start one with: ray start --head") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Raise OSError if HOST:PORT does not answer: Ray would retry for 15 minutes, without being interruptible."""
    host, separator, port = address.rpartition(":")
    if separator and "://" not in address and port.isdecimal():
        socket.create_connection((host, int(port)), _TIMEOUT_SECONDS).close()


def choose_workers(device: str, resources: Mapping[str, float], wanted: int | None) -> tuple[str, int]:
    """Return the device of each detector ("cpu" or "cuda") and the number of detectors."""
    num_gpus = int(resources.get("GPU", 0))
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {device!r}: Ray chooses the GPU; set MODEL.DEVICE to auto, cuda or cpu")
    if device == "cuda" and not num_gpus:
        raise DeviceError("device 'cuda': the Ray cluster has no GPU; set MODEL.DEVICE to auto or cpu")
    if device == "cpu" or not num_gpus:
        return "cpu", wanted or max(1, int(resources.get("CPU", 1)))
    return "cuda", wanted or num_gpus
