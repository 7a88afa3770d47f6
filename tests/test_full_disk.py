"""A training on a full disk ends with an error, keeps its last checkpoint, and continues when there is room."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd.engine.resume import find_training
from ssd.inference.detections import Detections
from ssd.inference.outputs import Outputs
from ssd.inference.video_writer import VideoWriter
from ssd.tools.data.scenes import write_samples
from ssd.utils.errors import SSDError
from ssd.utils.image import write_image

ROOT = Path(__file__).parents[1]
Script = Callable[..., tuple[int, str, str]]

# Trains on a disk of $SIZE bytes, then on the same disk with more room; leaves a copy of the disk after each, and the
# statuses.
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
ON_A_FULL_DISK = """
set -e
mkdir "$DISK"
mount -t tmpfs -o size=64k tmpfs "$DISK"
dd if=/dev/zero of="$DISK/other" bs=1k 2>/dev/null || true
exec "$@"
"""


def mounts_are_allowed() -> bool:
    """Return whether this user may mount a disk of memory in a namespace of their own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not mounts_are_allowed(), reason="mounting is not allowed here")


def train_on_disk(code: str, disk: Path, size: int, *args: object) -> subprocess.CompletedProcess[str]:
    """Run the shell code in a namespace of its own, with the training as its arguments."""
    threads = str(torch.get_num_threads())  # weights are compared with those of a training in this process
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", code, "bash", sys.executable, ROOT / "train.py"]
    return subprocess.run(
        [*command, *map(str, args), "OUTPUT_DIR", disk],
        cwd=disk.parent,
        env={**os.environ, "DISK": str(disk), "SIZE": str(size), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@needs_mounts
def test_a_small_disk(config_file, tmp_path, script) -> None:
    run = ["--config-file", config_file, "--skip-test", "--save_step", 2, "SOLVER.MAX_ITER", 8]
    assert script("train.py", *run, "OUTPUT_DIR", tmp_path / "whole")[0] == 0
    size = (tmp_path / "whole" / "model_final.pth").stat().st_size
    disk = tmp_path / "disk"
    assert train_on_disk(ON_A_SMALL_DISK, disk, int(size * 2.5), *run).returncode == 0
    assert (tmp_path / "first.status").read_text() == "1\n"
    error = (tmp_path / "first.err").read_text()
    assert error.startswith(f"error: {disk}/model_000006.pth")
    assert error.count("\n") == 1
    facts = ("No space left", f"{disk}/model_000004.pth", "CHECKPOINT.KEEP")
    assert [fact for fact in facts if fact not in error] == []
    assert sorted(path.name for path in (tmp_path / "first").rglob("*.pth")) == ["model_000002.pth", "model_000004.pth"]
    assert not list((tmp_path / "first").rglob(".*"))
    stored = find_training(tmp_path / "first")
    assert stored is not None
    assert stored.checkpoint["iteration"] == 4

    assert (tmp_path / "second.status").read_text() == "0\n", (tmp_path / "second.err").read_text()
    expected, continued = (torch.load(tmp_path / name / "model_final.pth") for name in ("whole", "second"))
    for part in ("model", "optimizer"):
        torch.testing.assert_close(continued[part], expected[part], rtol=0, atol=0)


@needs_mounts
def test_a_disk_that_is_full_from_the_first(config_file, tmp_path) -> None:
    """Not even the log can be written; one line says this, and another why the run ends."""
    run = train_on_disk(ON_A_FULL_DISK, tmp_path / "disk", 0, "--config-file", config_file)
    assert run.returncode == 1
    first, second = run.stderr.splitlines()
    assert first.startswith(str(tmp_path / "disk" / "log.txt"))
    assert second.startswith("error: ")
    assert "No space left on device" in second


def write_video(path: Path) -> None:
    with VideoWriter(path, 10.0) as writer:
        for number in range(20):
            writer.write(np.random.default_rng(number).integers(0, 256, (64, 96, 3), np.uint8))


PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
FOUND = Detections(
    *(np.full((99, 4), [0, 0, 9, 9], np.float32), np.ones(99, np.int64), np.ones(99, np.float32)),
    *(("", "a"), (96, 64)),
    pixels=PICTURE,
)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of the size of files")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.png", lambda path: write_image(PICTURE, path)),
        ("scene_1.jpg", lambda path: write_samples(path.parent, seed=0)),
        ("image.txt", lambda path: Outputs(("", "a"), txt=path.parent).add(FOUND)),
        ("a.mp4", write_video),
    ],
)
@pytest.mark.usefixtures("_mp4v")
def test_no_half_file_is_left(name, write, tmp_path) -> None:
    """As on a full disk the first part of a file can be written, and the rest not."""
    import resource

    path, limits = tmp_path / name, resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_bytes(b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(OSError if name == "scene_1.jpg" else SSDError, match=re.escape(str(path))):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} <= {name, "classes.txt"}


@pytest.fixture
def _mp4v(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos are written by OpenCV, which reports no errors."""
    monkeypatch.setitem(sys.modules, "av", None)
