import logging
import shutil
from pathlib import Path

import pytest
import torch

from ssd.utils.checkpoint_folder import TAG_FILE, has_checkpoint, last_checkpoint, read_last, tag_checkpoint
from ssd.utils.errors import CheckpointError


def write(path: Path, iteration: int) -> Path:
    torch.save({"model": {"weight": torch.full((100,), float(iteration))}, "iteration": iteration}, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of the iterations 8, 9, 10 and 11, of which the tag names 10, and the best, of 9."""
    for iteration in (8, 9, 10, 11):
        write(tmp_path / f"model_{iteration:06d}.pth", iteration)
    write(tmp_path / "model_best.pth", 9)
    tag_checkpoint(tmp_path, str(tmp_path / "model_000010.pth"))
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit of the weights."""
    data = bytearray(path.read_bytes())
    data[data.index(torch.load(path)["model"]["weight"].numpy().tobytes()) + 200] ^= 16
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_the_last_one_is_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_last(folder)
    assert found is not None
    assert found[0] == folder / "model_000010.pth"
    assert found[1]["iteration"] == 10
    assert not caplog.records


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_a_damaged_one_gives_way_to_the_one_before(folder: Path, caplog: pytest.LogCaptureFixture, damage) -> None:
    damage(folder / "model_000010.pth")
    with caplog.at_level(logging.WARNING):
        found = read_last(folder)
    assert found is not None
    assert found[0] == folder / "model_000009.pth"
    first, second = (record.getMessage() for record in caplog.records)
    assert str(folder / "model_000010.pth") in first
    assert str(folder / "model_000009.pth") in second
    assert (folder / TAG_FILE).read_text() == str(folder / "model_000010.pth")


def test_the_best_is_the_last_resort(folder: Path) -> None:
    for iteration in (10, 9, 8):
        truncate(folder / f"model_{iteration:06d}.pth")
    found = read_last(folder)
    assert found is not None
    assert found[0].name == "model_best.pth"


def test_before_the_final_one_comes_the_highest_number(folder: Path) -> None:
    empty(folder / "model_final.pth")
    tag_checkpoint(folder, "model_final.pth")
    write(folder / "model_100000.pth", 100000)
    write(folder / "model_2000000.pth", 2000000)
    found = read_last(folder)
    assert found is not None
    assert found[1]["iteration"] == 2000000


def test_nothing_whole_is_left(folder: Path) -> None:
    for path in folder.glob("*.pth"):
        flip(path)
    with pytest.raises(CheckpointError, match=r"10\.pth .*model_000009\.pth, model_000008"):
        read_last(folder)


def test_a_single_damaged_one(tmp_path: Path) -> None:
    flip(write(tmp_path / "model_final.pth", 1))
    tag_checkpoint(tmp_path, "model_final.pth")
    with pytest.raises(CheckpointError, match=r"model_final\.pth: .*checksum"):
        read_last(tmp_path)


def test_without_a_tag_there_is_nothing_to_continue(folder: Path, tmp_path: Path) -> None:
    (folder / TAG_FILE).unlink()
    assert read_last(folder) is None
    assert last_checkpoint(folder) is None
    assert not has_checkpoint(folder)
    assert not has_checkpoint("")


@pytest.mark.parametrize("written", [b"gone/model_000012.pth", b"", b"\xff\x00\xfe", b"\0"])
def test_a_tag_that_names_nothing(folder: Path, written: bytes) -> None:
    (folder / TAG_FILE).write_bytes(written)
    with pytest.raises(CheckpointError, match=r"last_checkpoint\.txt .*model_0000"):
        read_last(folder)


def test_a_copied_folder_reads_its_own(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copies") / "copy"
    shutil.copytree(folder, copy)
    assert last_checkpoint(copy) == copy / "model_000010.pth"
