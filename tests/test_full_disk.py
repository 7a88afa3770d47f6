"""A training whose disk is full says so, leaves what it had, and continues when there is room."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssd.engine.resume import find_training

ROOT = Path(__file__).parents[1]
Script = Callable[..., tuple[int, str, str]]

# Trains on a disk of $SIZE bytes, gives it room, and trains on; leaves copies of the disk after each, and the statuses.
ON_A_SMALL_DISK = """
set -e
mkdir "$DISK"
mount -t tmpfs -o size=$SIZE tmpfs "$DISK"
for run in first second; do
    status=0
    "$@" >$run.out 2>$run.err || status=$?
    echo $status >$run.status
    cp -r "$DISK" $run
    mount -o remount,size=1g "$DISK"
done
"""


def mounts_are_allowed() -> bool:
    """Whether this user may mount a disk of memory in a namespace of their own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not mounts_are_allowed(), reason="mounting is not allowed here")
def test_a_small_disk(config_file: Path, tmp_path: Path, script: Script) -> None:
    run = ["--config-file", config_file, "--skip-test", "--save_step", 2, "SOLVER.MAX_ITER", 8]
    assert script("train.py", *run, "OUTPUT_DIR", tmp_path / "whole")[0] == 0
    size = (tmp_path / "whole" / "model_final.pth").stat().st_size
    disk = tmp_path / "disk"
    subprocess.run(
        [
            *("unshare", "--map-root-user", "--mount", "bash", "-c", ON_A_SMALL_DISK, "bash"),
            *(sys.executable, str(ROOT / "train.py"), *map(str, run), "OUTPUT_DIR", str(disk)),
        ],
        cwd=tmp_path,
        env={**os.environ, "DISK": str(disk), "SIZE": str(int(size * 2.5)), "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=120,
    )
    assert (tmp_path / "first.status").read_text() == "1\n"
    assert (tmp_path / "first.err").read_text() == (
        f"error: {disk}/model_000006.pth: cannot be written: No space left on device; {disk}/model_000004.pth is "
        "as it was: make room (CHECKPOINT.KEEP leaves fewer files), and the same command continues from there\n"
    )
    assert sorted(path.name for path in (tmp_path / "first").rglob("*.pth")) == ["model_000002.pth", "model_000004.pth"]
    assert not list((tmp_path / "first").rglob(".*"))
    stored = find_training(tmp_path / "first")
    assert stored is not None
    assert stored.checkpoint["iteration"] == 4

    assert (tmp_path / "second.status").read_text() == "0\n", (tmp_path / "second.err").read_text()
    expected, continued = (torch.load(tmp_path / name / "model_final.pth") for name in ("whole", "second"))
    for part in ("model", "optimizer"):
        torch.testing.assert_close(continued[part], expected[part], rtol=0, atol=0)


ON_A_FULL_DISK = """
set -e
mkdir "$DISK"
mount -t tmpfs -o size=64k tmpfs "$DISK"
dd if=/dev/zero of="$DISK/other" bs=1k 2>/dev/null || true
exec "$@"
"""


@pytest.mark.skipif(not mounts_are_allowed(), reason="mounting is not allowed here")
def test_a_disk_that_is_full_from_the_first(config_file: Path, tmp_path: Path) -> None:
    """Not even the log can be written; that is said once, and what ends the run last."""
    disk = tmp_path / "disk"
    run = subprocess.run(
        [
            *("unshare", "--map-root-user", "--mount", "bash", "-c", ON_A_FULL_DISK, "bash"),
            *(sys.executable, str(ROOT / "train.py"), "--config-file", str(config_file), "OUTPUT_DIR", str(disk)),
        ],
        env={**os.environ, "DISK": str(disk), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1
    first, second = run.stderr.splitlines()
    assert first == f"{disk / 'log.txt'} cannot be written: No space left on device"
    assert second.startswith("error: ")
    assert second.endswith("No space left on device; make room, and the same command continues")


def test_a_disk_that_takes_nothing_more(
    config_file: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes when the file is flushed, as it does on disks that are elsewhere."""
    run = ("train.py", "--config-file", config_file, "--skip-test", "--save_step", 1, "SOLVER.MAX_ITER", 3)
    first = tmp_path / "out" / "model_000001.pth"
    fsync, has_room = os.fsync, 3  # the config; after the first checkpoint its folder, its tag and that's folder

    def full(descriptor: int) -> None:
        nonlocal has_room
        has_room -= first.is_file()
        if has_room < 0:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    status, _, error = script(*run)
    assert status == 1
    second = tmp_path / "out" / "model_000002.pth"
    assert error.startswith(f"error: {second}: cannot be written: Disk quota exceeded; {first} is as it was: make room")
    assert error.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pth")) == ["model_000001.pth"]
    assert not list((tmp_path / "out").glob(".*"))
