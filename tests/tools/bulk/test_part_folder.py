import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssd.tools.bulk.counts import Counts
from ssd.tools.bulk.job import Job
from ssd.tools.bulk.part_folder import PartFolder
from ssd.tools.bulk.rows import Failure
from ssd.utils.errors import OutputError

JOB = Job(
    listing="12ab", num_images=7, detector="34cd", class_names=("__background__", "cat"),
    score_threshold=0.01, tile=None, format="jsonl", part_size=3,
)  # fmt: skip


def rows_of(folder: PartFolder, part: int) -> list[Any]:
    return [Failure(f"{n}.jpg", Path(f"{n}.jpg"), n, f"{n}: bad") for n in folder.job.images_of(part)]


@pytest.fixture
def folder(tmp_path: Path) -> PartFolder:
    folder = PartFolder(tmp_path / "new" / "found", JOB)
    folder.open()
    return folder


def test_parts_are_pending_until_written(folder: PartFolder) -> None:
    assert folder.pending() == [0, 1, 2]
    assert folder.write(1, rows_of(folder, 1)) == Counts(3, ["3: bad", "4: bad", "5: bad"], {})
    assert folder.pending() == [0, 2]
    assert folder.read_counts(1) == Counts(3, ["3: bad", "4: bad", "5: bad"], {})
    lines = (folder.path / "part-00001.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [3, 4, 5]
    assert sorted(path.name for path in folder.path.iterdir()) == ["_job", "part-00001.jsonl"]


@pytest.mark.parametrize("name", ["part-00001.jsonl", "_job/part-00001.json"])
def test_a_part_is_done_if_both_of_its_files_exist(folder: PartFolder, name: str) -> None:
    folder.write(1, rows_of(folder, 1))
    (folder.path / name).unlink()
    assert folder.pending() == [0, 1, 2]


def test_the_same_job_continues(folder: PartFolder) -> None:
    folder.write(0, rows_of(folder, 0))
    again = PartFolder(folder.path, replace(JOB))
    again.open()
    assert again.pending() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"part_size": 4},
            r"found: it holds parts of another job: part_size is 3 there and 4 here; name another folder",
        ),
        (
            {"listing": "56ef", "num_images": 8},
            "another job: the list of images was another one, num_images is 7 there and 8 here; name",
        ),
        ({"detector": "99"}, "another job: weights or configuration of the detector were others; name"),
        ({"format": "parquet"}, "format is 'jsonl' there and 'parquet' here"),
        ({"tile": True}, "tile is None there and True here"),
        ({"class_names": ("__background__", "dog")}, "class_names is"),
    ],
)
def test_another_job_is_refused(folder: PartFolder, change: dict[str, Any], message: str) -> None:
    other = PartFolder(folder.path, replace(JOB, **change))
    other.open()  # there is nothing yet that could be mixed up
    folder.open()
    folder.write(0, rows_of(folder, 0))
    with pytest.raises(OutputError, match=message):
        other.open()
    folder.open()


def test_parts_of_an_unknown_job_are_refused(folder: PartFolder) -> None:
    folder.write(0, rows_of(folder, 0))
    (folder.path / "_job" / "job.json").unlink()
    with pytest.raises(OutputError, match="it holds parts, and nothing says of which job"):
        folder.open()


def test_only_the_folder_of_the_start_passes_the_check(folder: PartFolder, tmp_path: Path) -> None:
    folder.check()
    with pytest.raises(OutputError, match="name one that all machines share"):
        PartFolder(tmp_path / "elsewhere", JOB).check()


def test_what_a_killed_process_left_is_removed(folder: PartFolder) -> None:
    remains = [folder.path / ".part-00002.jsonl.123.tmp", folder.path / "_job" / ".part-00002.json.123.tmp"]
    for path in remains:
        path.touch()
    assert folder.pending() == [0, 1, 2]
    folder.remove_remains()
    assert not any(path.exists() for path in remains)


def test_a_full_disk(folder: PartFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OutputError, match=r"part-00000\.jsonl: cannot be written: No space left on device"):
            folder.write(0, rows_of(folder, 0))
    assert folder.pending() == [0, 1, 2]
    assert sorted(path.name for path in folder.path.iterdir()) == ["_job"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot be written"):
        PartFolder(tmp_path / "file", JOB).open()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_counts(folder: PartFolder, content: str) -> None:
    folder.write(0, rows_of(folder, 0))
    (folder.path / "_job" / "part-00000.json").write_text(content)
    with pytest.raises(OutputError, match=r"part-00000\.json: .*remove the file"):
        folder.read_counts(0)


def test_large_jobs_have_longer_names(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path, replace(JOB, num_images=200_000, part_size=1))
    folder.open()
    folder.write(123_456, rows_of(folder, 123_456))
    assert folder.part_path(123_456).name == "part-123456.jsonl"
    assert len(folder.pending()) == 199_999
    assert 123_456 not in folder.pending()
