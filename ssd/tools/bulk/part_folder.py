"""The folder that a job writes to, which is also all that its processes know of each other.

``part-00007.jsonl`` holds the images of part 7. Beside it, ``_job/part-00007.json`` is written last and counts them: a
part is done if both exist. ``_job/job.json`` says which job the folder belongs to. Readers of Parquet and JSON pass
over names that begin with an underscore.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssd.tools.bulk.counts import Counts, count_rows
from ssd.tools.bulk.job import Job
from ssd.tools.bulk.rows import FORMATS, Row
from ssd.utils.errors import OutputError, os_errors_as, shorten
from ssd.utils.files import atomic_write, remove_stale

_PART = re.compile(r"part-\d{5,}")
# What it means that a digest in a Job is another one.
_DIGESTS = {
    "listing": "the list of images was another one",
    "detector": "weights or configuration of the detector were others",
}


class PartFolder:
    """Reads and writes the parts of one job.

    Args:
        path: the folder; several processes, and machines, may share it.
        job: what it belongs to.
    """

    def __init__(self, path: Path, job: Job):
        self.path = path
        self.job = job
        self._notes = path / "_job"

    def open(self) -> None:
        """Make the folder this job's, or see that it is.

        Raises:
            OutputError: it holds parts of another job, or cannot be written.
        """
        with os_errors_as(OutputError, self.path):
            self._notes.mkdir(parents=True, exist_ok=True)
        stored, wanted = self._stored_job(), asdict(self.job) | {"class_names": list(self.job.class_names)}
        if stored != wanted:
            if self._names(self.path):
                raise OutputError(f"{self.path}: {_difference(stored, wanted)}; name another folder, or empty this one")
            self._write(self._notes / "job.json", json.dumps(wanted, indent=1).encode())

    def check(self) -> None:
        """Raise OutputError unless ``open`` was called for the folder that this machine calls so."""
        if self._stored_job() is None:
            raise OutputError(
                f"{self.path}: not the folder in which the job was started; name one that all machines share"
            )

    def remove_remains(self) -> None:
        """Remove the unfinished files of killed processes."""
        with os_errors_as(OutputError, self.path):
            for folder in (self.path, self._notes):
                remove_stale(folder)

    def part_path(self, part: int) -> Path:
        """Return the file of a part."""
        return self.path / f"{_stem(part)}.{self.job.format}"

    def pending(self) -> list[int]:
        """Return the parts that are not done, in order."""
        done = self._names(self.path) & self._names(self._notes)
        return [part for part in range(self.job.num_parts) if _stem(part) not in done]

    def write(self, part: int, rows: Sequence[Row]) -> Counts:
        """Write a part, whole or not at all, and return what it counts.

        Raises:
            OutputError: the disk is full, or does not take it for another reason.
            MissingPackageError: the format needs a package that is not installed.
        """
        counts = count_rows(rows)
        path = self.part_path(part)
        with os_errors_as(OutputError, path), atomic_write(path) as file:
            FORMATS[self.job.format](rows, self.job.class_names, file)
        # ASCII, since the name of a file need not be valid Unicode
        self._write(self._notes / f"{_stem(part)}.json", json.dumps(asdict(counts)).encode("ascii"))
        return counts

    def read_counts(self, part: int) -> Counts:
        """Return what a part that is done counts.

        Raises:
            OutputError: the file that says so was changed.
        """
        return Counts(**_read_json(self._notes / f"{_stem(part)}.json"))

    def _stored_job(self) -> dict[str, Any] | None:
        path = self._notes / "job.json"
        return _read_json(path) if path.is_file() else None

    def _names(self, folder: Path) -> set[str]:
        """The stems of the parts there, by files of any format."""
        with os_errors_as(OutputError, folder), os.scandir(folder) as entries:
            return {match[0] for entry in entries if (match := _PART.match(entry.name))}

    def _write(self, path: Path, content: bytes) -> None:
        with os_errors_as(OutputError, path), atomic_write(path) as file:
            file.write(content)


def _stem(part: int) -> str:
    return f"part-{part:05d}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); remove the file to have its part done again") from error
    if not isinstance(content, dict):
        raise OutputError(f"{path}: holds something else than it was given; remove the file")
    return content


def _difference(stored: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    if stored is None:
        return "it holds parts, and nothing says of which job"
    changed = [
        _DIGESTS.get(key) or f"{key} is {shorten(stored.get(key))} there and {shorten(value)} here"
        for key, value in wanted.items()
        if stored.get(key) != value
    ]
    return f"it holds parts of another job: {', '.join(changed)}"
