import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd.config import load_config
from ssd.inference.predictor import DEFAULT_SCORE_THRESHOLD
from ssd.tools.bulk.part_folder import Job, PartFolder, make_job
from ssd.tools.bulk.rows import Counts, Failure
from ssd.utils.errors import OutputError
from ssd.weights.loaded_checkpoint import LoadedCheckpoint

CLASSES = ("__background__", "cat")
JOB = Job(
    listing="12ab", num_images=7, detector="34cd", class_names=CLASSES,
    score_threshold=0.01, tile=None, format="jsonl", part_size=3,
)  # fmt: skip


@given(num_images=st.integers(1, 10**7), part_size=st.integers(1, 10**4))
def test_parts_divide_the_images(num_images: int, part_size: int) -> None:
    job = replace(JOB, num_images=num_images, part_size=part_size)
    last = job.num_parts - 1
    assert job.slice_of(last).stop == num_images
    assert 1 <= job.count_images([last]) <= part_size
    assert job.slice_of(last).start == last * part_size
    assert job.count_images([0]) == min(part_size, num_images)


def describe(overrides: Sequence[object] = (), files: Sequence[str] = ("a", "b"), **weights: torch.Tensor) -> Job:
    return make_job(load_config(None, overrides), LoadedCheckpoint(weights, "model.pth"), CLASSES, files)


@pytest.mark.parametrize(
    ("num_images", "part_size"),
    [(1, 32), (32 * 64, 32), (32 * 64 + 1, 33), (6400, 100), (64_000, 1000), (1_000_000, 1000)],
)
def test_the_part_size_follows_the_listing(num_images: int, part_size: int) -> None:
    job = describe(files=["a"] * num_images)
    assert (job.part_size, job.num_images) == (part_size, num_images)


def test_options_of_a_job() -> None:
    options = {"score_threshold": 0.0, "tile": 300, "file_format": "parquet", "part_size": 5}
    checkpoint = LoadedCheckpoint({}, "model.pth", score_thresholds=(0.4, 0.3))
    job = make_job(load_config(None), checkpoint, CLASSES, ["a"], **options)
    assert (job.score_threshold, job.tile, job.format, job.part_size) == (0.0, 300, "parquet", 5)
    assert make_job(load_config(None), checkpoint, CLASSES, ["a"]).score_threshold == (0.4, 0.3)
    assert describe().score_threshold == DEFAULT_SCORE_THRESHOLD


def test_a_listing_is_identified_by_its_names_in_order() -> None:
    listings = [["a", "b"], ["b", "a"], ["a"], ["ab"], ["a", "b", ""], ["caf\udce9"]]
    assert len({describe(files=files).listing for files in listings}) == len(listings)
    assert describe(files=["a", "b"]) == describe(files=("a", "b"))


def test_a_detector_is_identified_by_its_weights_and_its_configuration() -> None:
    weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3), "c": torch.zeros(2, dtype=torch.bfloat16)}
    first = describe(**weights).detector
    assert describe(["MODEL.DEVICE", "cpu", "SOLVER.LR", 1.0], **weights).detector == first
    others = [
        describe(["TEST.NMS_THRESHOLD", 0.3], **weights),
        describe(["INPUT.IMAGE_SIZE", 512], **weights),
        describe(**{**weights, "a": torch.nextafter(weights["a"], torch.tensor(9.0))}),
        describe(**{**weights, "a": weights["a"].view(2, 1)}),
        describe(**{**weights, "a": weights["a"].view(torch.int32)}),
        describe(**{"z" + name: value for name, value in weights.items()}),
    ]
    assert len({first, *(job.detector for job in others)}) == 1 + len(others)


def rows_of(folder: PartFolder, part: int) -> list[Any]:
    images = range(folder.job.num_images)[folder.job.slice_of(part)]
    return [Failure(f"{n}.jpg", Path(f"{n}.jpg"), n, f"{n}: bad") for n in images]


@pytest.fixture
def folder(tmp_path: Path) -> PartFolder:
    folder = PartFolder(tmp_path / "new" / "found", JOB)
    folder.open()
    return folder


def test_parts_are_pending_until_written(folder: PartFolder) -> None:
    assert folder.pending() == [0, 1, 2]
    folder.write(1, rows_of(folder, 1))
    assert folder.pending() == [0, 2]
    lines = (folder.path / "part-00001.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [3, 4, 5]
    assert sorted(path.name for path in folder.path.iterdir()) == ["_job", "part-00001.jsonl"]
    for part in (2, 0):
        folder.write(part, rows_of(folder, part))
    assert folder.count() == Counts(7, [f"{n}: bad" for n in range(7)])


@pytest.mark.parametrize("name", ["part-00001.jsonl", "_job/part-00001.json"])
def test_a_part_is_done_if_both_of_its_files_exist(folder: PartFolder, name: str) -> None:
    folder.write(1, rows_of(folder, 1))
    (folder.path / name).unlink()
    assert folder.pending() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part_size": 4}, r"found: .*part_size is 3 there and 4 here"),
        ({"listing": "56ef", "num_images": 8}, "listing.*num_images is 7 there and 8 here"),
        ({"detector": "99"}, "detector"),
        ({"format": "parquet"}, "format is 'jsonl' there and 'parquet' here"),
        ({"tile": True}, "tile is None there and True here"),
        ({"class_names": ("__background__", "dog")}, "class_names"),
    ],
)
def test_another_job_is_refused(folder: PartFolder, change: dict[str, Any], message: str) -> None:
    other = PartFolder(folder.path, replace(JOB, **change))
    other.open()  # there are no parts yet
    folder.open()
    folder.write(0, rows_of(folder, 0))
    with pytest.raises(OutputError, match=message):
        other.open()
    folder.open()


def test_parts_of_an_unknown_job_are_refused(folder: PartFolder) -> None:
    folder.write(0, rows_of(folder, 0))
    (folder.path / "_job" / "job.json").unlink()
    with pytest.raises(OutputError, match="unknown job"):
        folder.open()


def test_other_machines_must_see_the_folder(folder: PartFolder, tmp_path: Path) -> None:
    folder.check_shared()
    with pytest.raises(OutputError, match="elsewhere"):
        PartFolder(tmp_path / "elsewhere", JOB).check_shared()


def test_files_of_killed_processes_are_removed(folder: PartFolder) -> None:
    remains = [folder.path / ".part-00002.jsonl.123.tmp", folder.path / "_job" / ".part-00002.json.123.tmp"]
    for path in remains:
        path.touch()
    assert folder.pending() == [0, 1, 2]
    folder.remove_remains()
    assert not any(path.exists() for path in remains)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_counts(folder: PartFolder, content: str) -> None:
    folder.write(0, rows_of(folder, 0))
    (folder.path / "_job" / "part-00000.json").write_text(content)
    with pytest.raises(OutputError, match=r"part-00000\.json"):
        folder.count()


def test_large_jobs_have_longer_names(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path, replace(JOB, num_images=200_000, part_size=1))
    folder.open()
    folder.write(123_456, rows_of(folder, 123_456))
    assert (tmp_path / "part-123456.jsonl").is_file()
    assert len(folder.pending()) == 199_999
