"""The output folder of a job, through which its processes know of each other, and the job that it belongs to.

``part-00007.jsonl`` has the images of part 7. Its counts, ``_job/part-00007.json``, are written last: a part is done if
both files exist. ``_job/job.json`` describes the job. Readers of Parquet and JSON skip names that begin with "_".
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssd.config import Config
from ssd.inference.predictor import DEFAULT_SCORE_THRESHOLD
from ssd.tools.bulk.rows import FORMATS, Counts, Row, count_rows
from ssd.utils.errors import OutputError, os_errors_as, shorten
from ssd.utils.files import atomic_write, remove_stale
from ssd.weights.loaded_checkpoint import LoadedCheckpoint

# 64 parts let as many processes share a small listing evenly. 1000 images bound the work that a killed process loses,
# and are many batches of any GPU.
_MIN_PARTS, _MIN_PART_SIZE, _MAX_PART_SIZE = 64, 32, 1000
_DIGESTS = ("listing", "detector")
_PART = re.compile(r"part-\d{5,}")


@dataclass(frozen=True)
class Job:
    """Everything that decides the content of the parts, up to rounding. Equal jobs continue each other."""

    listing: str  # SHA-256
    num_images: int
    detector: str  # SHA-256
    class_names: tuple[str, ...]  # background first
    score_threshold: float | tuple[float, ...]  # one number, or one for each label
    tile: int | bool | None
    format: str
    part_size: int

    @property
    def num_parts(self) -> int:
        """Number of parts; all but the last are full."""
        return math.ceil(self.num_images / self.part_size)

    def slice_of(self, part: int) -> slice:
        """Return the place of the images of a part in the listing."""
        start = part * self.part_size
        return slice(start, min(start + self.part_size, self.num_images))

    def count_images(self, parts: Sequence[int]) -> int:
        """Return the number of images in parts."""
        return sum(self.slice_of(part).stop - self.slice_of(part).start for part in parts)


def make_job(
    cfg: Config,
    checkpoint: LoadedCheckpoint,
    class_names: Sequence[str],
    files: Sequence[str],
    *,
    score_threshold: float | None = None,
    tile: int | bool | None = None,
    file_format: str = "jsonl",
    part_size: int | None = None,
) -> Job:
    """Describe the detection in ``files`` by a detector; the default size of parts depends on the listing alone."""
    default_size = min(max(math.ceil(len(files) / _MIN_PARTS), _MIN_PART_SIZE), _MAX_PART_SIZE)
    own_threshold = checkpoint.score_thresholds or DEFAULT_SCORE_THRESHOLD
    return Job(
        listing=hashlib.sha256(b"\0".join(os.fsencode(file) for file in files)).hexdigest(),
        num_images=len(files),
        detector=_digest_detector(cfg, checkpoint.weights),
        class_names=tuple(class_names),
        score_threshold=own_threshold if score_threshold is None else score_threshold,
        tile=tile,
        format=file_format,
        part_size=part_size or default_size,
    )


def _digest_detector(cfg: Config, weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the weights and of MODEL, INPUT and TEST without the device."""
    cfg = cfg.with_overrides(["MODEL.DEVICE", ""])
    digest = hashlib.sha256("".join(cfg[name].dump() for name in ("MODEL", "INPUT", "TEST")).encode())
    for name, tensor in weights.items():
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class PartFolder:
    """Folder with the parts of a job; processes and machines may share it."""

    def __init__(self, path: Path, job: Job):
        self.path = path
        self.job = job
        self._notes = path / "_job"

    def open(self) -> None:
        """Create the folder; raise OutputError if it has parts of another job."""
        with os_errors_as(OutputError, self.path):
            self._notes.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self.job), indent=1)
        stored, wanted = self._stored_job(), json.loads(text)
        if stored != wanted:
            if self._names(self.path):
                raise OutputError(f"{self.path}: {_difference(stored, wanted)}; choose another folder or empty it")
            _write(self._notes / "job.json", text)

    def check_shared(self) -> None:
        """Raise OutputError if this machine does not see the folder that ``open`` prepared."""
        if self._stored_job() is None:
            raise OutputError(f"{self.path}: not the folder of this job; use one that all machines share")

    def remove_remains(self) -> None:
        """Remove the unfinished files of killed processes."""
        with os_errors_as(OutputError, self.path):
            for folder in (self.path, self._notes):
                remove_stale(folder)

    def pending(self) -> list[int]:
        """Return the numbers of the parts that are not done, in order."""
        done = self._names(self.path) & self._names(self._notes)
        return [part for part in range(self.job.num_parts) if _stem(part) not in done]

    def write(self, part: int, rows: Sequence[Row]) -> None:
        """Write a part, completely or not at all."""
        path = self.path / f"{_stem(part)}.{self.job.format}"
        with os_errors_as(OutputError, path), atomic_write(path) as file:
            FORMATS[self.job.format](rows, self.job.class_names, file)
        _write(self._notes / f"{_stem(part)}.json", json.dumps(vars(count_rows(rows))))

    def count(self) -> Counts:
        """Return the counts of all parts, which must be done."""
        counts = Counts()
        for part in range(self.job.num_parts):
            counts.add(**_read_json(self._notes / f"{_stem(part)}.json"))
        return counts

    def _stored_job(self) -> dict[str, Any] | None:
        path = self._notes / "job.json"
        return _read_json(path) if path.is_file() else None

    def _names(self, folder: Path) -> set[str]:
        """Return the stems of the parts in a folder, of any format."""
        with os_errors_as(OutputError, folder), os.scandir(folder) as entries:
            return {match[0] for entry in entries if (match := _PART.match(entry.name))}


def _stem(part: int) -> str:
    return f"part-{part:05d}"


def _write(path: Path, text: str) -> None:
    with os_errors_as(OutputError, path), atomic_write(path) as file:
        file.write(text.encode("ascii"))  # json.dumps escapes the rest; file names need not be valid Unicode


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); remove the file to repeat its part") from error
    return content


def _difference(stored: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    if stored is None:
        return "it has parts of an unknown job"
    changed = {key: value for key, value in wanted.items() if stored.get(key) != value}
    texts = {
        key: f"{key} is {shorten(stored.get(key))} there and {shorten(value)} here" for key, value in changed.items()
    }
    texts |= {key: f"the {key} differs" for key in _DIGESTS if key in changed}
    return f"it has parts of another job: {', '.join(texts.values())}"
