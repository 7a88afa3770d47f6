"""`ssd predict` as a user calls it: in one process and several, killed and started again."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ssd
from ssd.commands.predict import main, parse_args
from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from tests.forks import Forks

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
NAMES = ("a b.jpg", "b.JPG", "bad.png", "d#1%20.jpg", "e[1].jpeg", "ä日.jpg")  # in the order of a listing

Predict = Callable[..., tuple[int, str]]


@pytest.fixture
def predict(pictures: Path, capsys: pytest.CaptureFixture[str]) -> Predict:
    """Run the command in this process; return its exit status and what it says."""

    def run(*args: object, ckpt: str = "model.pth") -> tuple[int, str]:
        status = main(["--ckpt", ckpt, *map(str, args)])
        output = capsys.readouterr()
        return status, output.out + output.err

    return run


def read_lines(folder: str | Path) -> list[dict[str, Any]]:
    parts = sorted(Path(folder).glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text(encoding="utf-8").splitlines()]


def contents(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("part-*")}


def test_one_process_finds_what_the_api_finds(predict: Predict, pictures: Path) -> None:
    status, said = predict(pictures, "--output", "found", "--score_threshold", 0.5, "--batch_size", 3)
    assert status == 1
    rows = read_lines("found")
    assert [row["name"] for row in rows] == [f"{pictures}/{name}" for name in NAMES]
    assert [row["index"] for row in rows] == [*range(6)]
    assert [row["name"] for row in rows if row["error"]] == [f"{pictures}/bad.png"]
    detector = ssd.init_detector("model.pth", device="cpu")
    options = {"batch_size": 3, "score_threshold": 0.5}
    expected = detector.predict(pictures, on_error=lambda error: None, **options)
    found = [{**json.loads(one.to_json()), "error": None} for one in expected]
    assert [row for row in rows if not row["error"]] == found
    count = sum(map(len, expected))
    assert count > 0
    assert f"6 images, 1 failed; {count} objects\n" in said
    assert f"Failed:\n  {pictures}/bad.png: not an image" in said
    assert "Written: found" in said
    assert predict(pictures, "--output", "found", "--score_threshold", 0.5, "--batch_size", 2)[0] == 1
    assert read_lines("found") == rows
    (pictures / "bad.png").unlink()
    assert predict(pictures, "--output", "good", "--tile")[0] == 0
    expected = detector.predict(pictures, tile=True)
    assert read_lines("good") == [{**json.loads(one.to_json()), "error": None} for one in expected]


def test_processes_share_the_parts(predict: Predict, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other here; only the last one finds all done, and reports."""
    _, said_by_one = predict(pictures, "--output", "one", "--part_size", 1)
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    for rank, (expected, parts) in enumerate([(0, {0, 3}), (0, {0, 1, 3, 4}), (1, {*range(6)})]):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        status, said = predict(pictures, "--output", "three", "--part_size", 1)
        assert status == expected, said
        assert contents("three").keys() == {f"part-{part:05d}.jsonl" for part in parts}
        assert ("6 images, 1 failed" in said) == (rank == 2)
    assert contents("three") == contents("one")
    assert predict(pictures, "--output", "three", "--part_size", 1) == (0, "")
    monkeypatch.setenv("RANK", "0")
    status, said = predict(pictures, "--output", "three", "--part_size", 1)
    assert status == 1
    summary = said_by_one[said_by_one.index("6 images, 1 failed") :].partition("\r")[0]  # before the progress
    assert said.endswith(summary.replace("one", "three"))


def test_a_list_of_paths_and_addresses(predict: Predict, pictures: Path) -> None:
    lines = [f"{pictures}/ä日.jpg", "gone.jpg", f"{pictures}/a b.jpg", "ftp://me:secret@host/a.jpg"]
    Path("list.txt").write_text("\n".join(lines), encoding="utf-8")
    assert predict("--list", "list.txt", "-o", "found")[0] == 1
    rows = read_lines("found")
    assert [(row["name"], bool(row["error"])) for row in rows] == [
        (lines[0], False), ("gone.jpg", True), (lines[2], False), ("ftp://host/a.jpg", True),
    ]  # fmt: skip
    assert "secret" not in json.dumps(rows)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take no such names")
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_names_that_are_no_unicode(predict: Predict, pictures: Path, file_format: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet") if file_format == "parquet" else None
    names = [b"caf\xe9.jpg", b"caf\xe9.png"]
    shutil.copy(pictures / "b.JPG", os.fsdecode(names[0]))
    Path(os.fsdecode(names[1])).touch()
    status, said = predict("caf*", "-o", "found", "--format", file_format)
    assert (status, "caf\\udce9.png: the file is empty" in said) == (1, True)
    if parquet:
        assert parquet.read_table("found")["index"].to_pylist() == [0, 1]  # skips _job
    else:
        assert [os.fsencode(row["path"]) for row in read_lines("found")] == names


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["gone", "--output", "o"], "gone"),
        (["my pictures", "--output", "model.pth"], "model.pth"),
        (["my pictures", "--output", "o", "--batch_size", "0"], "--batch-size"),
        (["my pictures", "--output", "o", "--part_size", "0"], "--part-size"),
        (["my pictures", "--output", "o", "--tile", "5"], "tile"),
        (["my pictures", "--output", "o", "--actors", "2"], "--actors"),
        (["my pictures", "--output", "o", "--opts", "TEST.NMS", "1"], "TEST.NMS"),
    ],
)  # fmt: skip
def test_mistakes(predict: Predict, args: list[str], message: str) -> None:
    status, said = predict(*args)
    assert status == 1
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not list(Path().glob("o/part-*"))
    assert predict("my pictures", "--output", "o")[0] == 1  # because of the damaged image
    assert len(read_lines("o")) == 6


def test_jobs_are_not_mixed(predict: Predict, pictures: Path) -> None:
    predict(pictures, "-o", "found")
    before = contents("found")
    state = torch.load("model.pth", weights_only=True)
    state["model"] = {name: value + 1 for name, value in state["model"].items()}
    torch.save(state, "other.pth")
    for args, ckpt, message in (
        ([pictures, "--score_threshold", 0.6], "model.pth", "score_threshold is 0.5 there and 0.6 here"),
        ([pictures], "other.pth", "detector"),
        ([f"{pictures}/*.jpg"], "model.pth", "listing"),
        ([pictures], "gone.pth", "gone.pth"),
    ):
        status, said = predict(*args, "-o", "found", ckpt=ckpt)
        assert (status, message in said) == (1, True), said
    assert contents("found") == before


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_after_the_current_batch(predict, pictures, monkeypatch, number, expected):
    detect, calls = Predictor.predict, itertools.count()

    def detect_and_signal(*args: Any, **kwargs: Any) -> Iterator[Detections]:
        if next(calls) == 1:
            os.kill(os.getpid(), number)
        return detect(*args, **kwargs)

    args = (pictures, "-o", "found", "--part_size", 2, "--batch_size", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", detect_and_signal)
        status, said = predict(*args)
    assert (status, "Stopped; 1 of 3 parts are done" in said) == (expected, True)
    assert contents("found").keys() == {"part-00000.jsonl"}
    assert predict(*args)[0] == 1
    assert [row["index"] for row in read_lines("found")] == [*range(6)]


def test_killed_and_continued_by_other_processes(forks: Forks, pictures: Path) -> None:
    """One is killed, two that share the rest continue: the parts are those of a single unbroken run."""
    for number in range(46):
        os.link(pictures / NAMES[number % 2], pictures / f"x{number:03d}.jpg")
    script = Path("predict.py")
    script.write_text("import sys\nfrom ssd.commands.predict import main\nsys.exit(main(sys.argv[1:]))\n")
    args = [str(script), "--ckpt", "model.pth", str(pictures), "--part_size", "1", "--batch_size", "1", "--output"]
    run = subprocess.Popen([sys.executable, *args, "found"], env=ENVIRONMENT)
    job = Path("found", "_job")
    deadline = time.monotonic() + 100
    while len(list(job.glob("part-*.json"))) < 4:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    stamps = {path: path.stat().st_mtime_ns for path in job.glob("part-*.json")}
    assert 4 <= len(stamps) < 52
    statuses, said = forks(*args, "found", cwd=Path.cwd(), number=2)
    assert 1 in statuses
    assert "52 images, 1 failed" in said
    (to_do,) = re.findall(r"52 images in 52 parts, (\d+) of them to do", said)  # says rank 0
    assert 0 < int(to_do) <= 52 - len(stamps)  # rank 1 may have begun before it looked
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert not list(Path("found").rglob("*.tmp"))
    assert forks(*args, "unbroken", cwd=Path.cwd())[0] == [1]  # in as many threads, hence equal bits
    assert contents("found") == contents("unbroken")
    assert len(contents("found")) == 52


def test_arguments() -> None:
    """Sources may follow options; --opts takes the rest."""
    words = ["--ckpt", "m.pth", "a", "b b", "--output", "o", "--tile", "--score-threshold", "0.5", "c"]
    args = parse_args([*words, "--opts", "MODEL.DEVICE", "cpu"])
    assert (args.sources, args.tile, args.threshold) == (["a", "b b", "c"], True, 0.5)
    assert args.opts == ["MODEL.DEVICE", "cpu"]
