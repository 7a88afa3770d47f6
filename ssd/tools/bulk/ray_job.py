"""The parts of a job as a Ray Data job: detectors on the machines of a cluster do them and write them."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssd.config import Config, parse_config
from ssd.inference.api import make_predictor
from ssd.inference.predictor import Predictor
from ssd.tools.bulk.detect import PredictOptions, detect_part
from ssd.tools.bulk.job import Job
from ssd.tools.bulk.part_folder import PartFolder
from ssd.tools.bulk.work import Pace
from ssd.utils.device import select_device
from ssd.utils.errors import DeviceError, SSDError, import_extra
from ssd.utils.interrupt import InterruptGuard
from ssd.weights.loaded_checkpoint import LoadedCheckpoint

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10
_SEPARATOR = b"\0"  # between paths, none of which can hold it


@dataclass(frozen=True)
class Setup:
    """What a detector on another machine is made from.

    Attributes:
        config: YAML.
        trained: checkpoint, see ``read_trained``; no more than weights and origin.
        device: name of the device.
        output: folder of the parts.
        job: what they belong to.
        options: how to detect.
        working_folder: which relative paths are relative to.
    """

    config: str
    trained: LoadedCheckpoint
    device: str
    output: Path
    job: Job
    options: PredictOptions
    working_folder: str


class DetectorActor:
    """A detector in a process of its own, which does parts as Ray Data hands them to it.

    Args:
        setup: reference to a Setup in the cluster's memory.
    """

    def __init__(self, setup: Any):
        self._setup: Setup = import_extra("ray", "ray").get(setup)
        with contextlib.suppress(FileNotFoundError):  # where all paths are absolute, it need not exist
            os.chdir(self._setup.working_folder)
        self._folder = PartFolder(self._setup.output, self._setup.job)
        self._predictor: Predictor | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Do a part.

        Args:
            batch: one row: ``part``, its number, and ``files``, its paths and addresses, joined.

        Returns:
            One row: ``num_images``, and ``error``, what the user is to mend, or empty.
        """
        (part,), (files,) = batch["part"], batch["files"]
        try:
            return {"num_images": np.array([self._do(int(part), files)]), "error": np.array([""])}
        except SSDError as error:  # Ray would wrap it in all of its tracebacks
            return {"num_images": np.array([0]), "error": np.array([str(error)])}

    def _do(self, part: int, files: bytes) -> int:
        if self._predictor is None:
            self._predictor = self._make_predictor()
        names = [os.fsdecode(file) for file in files.split(_SEPARATOR)]
        first = self._folder.job.images_of(part).start
        rows = detect_part(self._predictor, names, first, self._setup.options)
        assert rows is not None, "nobody stops it"
        return self._folder.write(part, rows).num_images

    def _make_predictor(self) -> Predictor:
        setup = self._setup
        self._folder.check()
        cfg = parse_config(setup.config, "config of the job")
        return make_predictor(cfg, setup.trained, setup.job.class_names, select_device(setup.device))


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Belong to a cluster; it goes on afterwards, unless it was started for this."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it tells its plan, and its progress every second
    if address is not None:
        _check_reachable(address)
    try:
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise DeviceError(f"no Ray cluster at {address!r}: {error}; start one with: ray start --head") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise DeviceError if nobody listens there: Ray would try for a quarter of an hour, and not be interrupted."""
    host, separator, port = address.rpartition(":")
    if not separator or "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _TIMEOUT_SECONDS).close()
    except OSError as error:
        raise DeviceError(f"no Ray cluster at {address}: {error}; start one with: ray start --head") from error


def _choose_workers(device: str, resources: Mapping[str, float], wanted: int | None) -> tuple[str, int]:
    """The device of each detector, and how many there are."""
    num_gpus = int(resources.get("GPU", 0))
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {device!r}: Ray chooses the GPU; set MODEL.DEVICE to auto, cuda or cpu")
    if device == "cuda" and not num_gpus:
        raise DeviceError("device 'cuda': the Ray cluster has no GPU; set MODEL.DEVICE to auto or cpu")
    if device == "cpu" or not num_gpus:
        return "cpu", wanted or max(1, int(resources.get("CPU", 1)))
    return "cuda", wanted or num_gpus


def _make_rows(files: Sequence[str], job: Job, parts: Sequence[int]) -> list[dict[str, Any]]:
    """A row a part, for ``DetectorActor``."""
    rows = []
    for part in parts:
        images = job.images_of(part)
        encoded = [os.fsencode(file) for file in files[images.start : images.stop]]
        rows.append({"part": part, "files": _SEPARATOR.join(encoded)})
    return rows


def _do_rows(
    ray_data: Any, rows: list[dict[str, Any]], setup: Any, *, device: str, num_workers: int
) -> Iterable[dict[str, Any]]:
    """Let detectors on the cluster do parts, a block each. A row of ``DetectorActor`` comes when its part is done."""
    done = ray_data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        DetectorActor,
        fn_constructor_args=(setup,),
        batch_size=1,
        num_cpus=None if device == "cuda" else 1,
        num_gpus=1 if device == "cuda" else None,
        compute=ray_data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
    )
    return done.iter_rows()


def run_on_ray(
    cfg: Config,
    trained: LoadedCheckpoint,
    files: Sequence[str],
    folder: PartFolder,
    options: PredictOptions,
    *,
    parts: Sequence[int],
    address: str | None,
    num_actors: int | None,
) -> int:
    """Do the parts of a job on a Ray cluster.

    Args:
        cfg: of the detector.
        trained: its checkpoint.
        files: the images of the whole job.
        folder: gets the parts; all machines must share it.
        options: how to detect.
        parts: which ones are to do.
        address: of the cluster; None = the one that this machine belongs to, or else a new one.
        num_actors: how many detectors; None = one for each GPU of the cluster, or for each core if it has none.

    Returns:
        0; the exit status of a Ctrl-C or SIGTERM, after which it ends when the next part is done.

    Raises:
        MissingPackageError: Ray is not installed.
        DeviceError: the cluster cannot be reached, or lacks MODEL.DEVICE.
        SSDError: what a detector raised, see ``PartFolder.check``, ``PartFolder.write`` and ``Predictor.predict``.
    """
    ray = import_extra("ray", "ray")
    ray_data = import_extra("ray.data", "ray")
    if not parts:
        return 0
    # Ray takes SIGTERM for itself, so the guard comes after it.
    with _cluster(ray, address), InterruptGuard() as interrupt:
        device, num_workers = _choose_workers(cfg.MODEL.DEVICE, ray.cluster_resources(), num_actors)
        num_workers = min(num_workers, len(parts))
        logger.info("%d detectors on %s of a Ray cluster", num_workers, "GPUs" if device == "cuda" else "cores")
        weights = LoadedCheckpoint(trained.weights, trained.source)
        setup = Setup(cfg.dump(), weights, device, folder.path, folder.job, options, os.getcwd())
        rows = _make_rows(files, folder.job, parts)
        done = _do_rows(ray_data, rows, ray.put(setup), device=device, num_workers=num_workers)
        _consume(done, Pace(sum(len(folder.job.images_of(part)) for part in parts)), interrupt)
    return interrupt.exit_status


def _consume(rows: Iterable[dict[str, Any]], pace: Pace, interrupt: InterruptGuard) -> None:
    """Have the parts done, which is when their rows come."""
    for row in rows:
        if row["error"]:
            raise SSDError(row["error"])
        pace.add(int(row["num_images"]))
        if interrupt.requested:
            break
    logger.info("%s", pace.speed())
