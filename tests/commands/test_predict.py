"""`ssd predict` as a user calls it: in one process and several, killed and started again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ssd
from ssd.commands.predict import main, parse_args
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
    assert [row for row in rows if not row["error"]] == [
        {**json.loads(one.to_json()), "error": None} for one in expected
    ]
    count = sum(map(len, expected))
    assert count > 0
    assert f"6 images, 1 failed; {count} objects\n" in said
    assert f"Failed:\n  {pictures}/bad.png: not an image" in said
    assert "Written: found" in said

    assert predict(pictures, "--output", "found", "--score_threshold", 0.5, "--batch_size", 2)[0] == 1
    assert read_lines("found") == rows
    (pictures / "bad.png").unlink()
    assert predict(pictures, "--output", "good", "--tile")[0] == 0


def test_parquet_has_the_same_rows(predict: Predict, pictures: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predict(pictures, "--output", "lines", "--part_size", 2)
    assert predict(pictures, "--output", "tables", "--part_size", 2, "--format", "parquet")[0] == 1
    assert len(list(Path("tables").glob("part-*.parquet"))) == 3
    table = parquet.read_table("tables").to_pylist()  # skips _job
    for row, line in zip(table, read_lines("lines"), strict=True):
        assert [row[name] for name in ("file", "index", "error")] == [line[name] for name in ("name", "index", "error")]
        assert row["names"] == [found["name"] for found in line["objects"]]


def test_processes_share_the_parts(predict: Predict, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other here; only the last one finds all done, and reports."""
    _, said_by_one = predict(pictures, "--output", "one", "--part_size", 1)
    for name, value in {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "9",
        "WORLD_SIZE": "3",
        "LOCAL_WORLD_SIZE": "3",
    }.items():
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
    assert said.endswith(said_by_one[said_by_one.index("6 images, 1 failed") :].replace("one", "three"))


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
    if file_format == "parquet":
        pytest.importorskip("pyarrow")
    for name in (b"caf\xe9.jpg", b"caf\xe9.png"):
        shutil.copy(pictures / "b.JPG", os.fsdecode(name))
    Path(os.fsdecode(b"caf\xe9.png")).write_text("")
    status, said = predict("caf*", "-o", "found", "--format", file_format)
    assert status == 1
    assert "caf\\udce9.png: the file is empty" in said
    if file_format == "jsonl":
        assert [os.fsencode(row["path"]) for row in read_lines("found")] == [b"caf\xe9.jpg", b"caf\xe9.png"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--output", "o"], "--list"),
        (["gone", "--output", "o"], "gone"),
        (["my pictures", "--output", "model.pth"], "model.pth"),
        (["my pictures", "--output", "o", "--batch_size", "0"], "--batch_size"),
        (["my pictures", "--output", "o", "--part_size", "0"], "--part_size"),
        (["my pictures", "--output", "o", "--tile", "5"], "tile"),
        (["my pictures", "--output", "o", "--actors", "2"], "--actors"),
        (["my pictures", "--output", "o", "--opts", "TEST.NMS", "1"], "TEST.NMS"),
        (["my pictures", "--output", "o", "--opts", "MODEL.DEVICE", "tpu"], "'tpu'"),
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


def test_a_missing_checkpoint(predict: Predict, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.pth" in predict("my pictures", "-o", "o", ckpt="gone.pth")[1]
    assert main(["my pictures", "--output", "o"]) == 1
    assert "--ckpt" in capsys.readouterr().err


def test_jobs_are_not_mixed(predict: Predict, pictures: Path) -> None:
    predict(pictures, "-o", "found")
    before = contents("found")
    state = torch.load("model.pth", weights_only=True)
    state["model"] = {name: value + 1 for name, value in state["model"].items()}
    torch.save(state, "other.pth")
    for args, ckpt, message in (
        ([pictures, "--score_threshold", 0.5], "model.pth", "score_threshold is 0.01 there and 0.5 here"),
        ([pictures], "other.pth", "detector"),
        ([f"{pictures}/*.jpg"], "model.pth", "listing"),
        ([pictures, "--opts", "TEST.NMS_THRESHOLD", 0.2], "model.pth", "detector"),
    ):
        status, said = predict(*args, "-o", "found", ckpt=ckpt)
        assert status == 1
        assert "error: found: " in said
        assert message in said
    assert contents("found") == before


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_after_the_batch_at_hand(
    predict: Predict, pictures: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, expected: int
) -> None:
    detect, calls = Predictor.predict, []

    def detect_and_signal(self: Predictor, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        for found in detect(self, *args, **kwargs):
            if len(calls) == 2:
                os.kill(os.getpid(), number)
            yield found

    args = (pictures, "-o", "found", "--part_size", 2, "--batch_size", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", detect_and_signal)
        status, said = predict(*args)
    assert status == expected
    assert "Stopped; 1 of 3 parts are done" in said
    assert contents("found").keys() == {"part-00000.jsonl"}
    assert predict(*args)[0] == 1
    assert [row["index"] for row in read_lines("found")] == [*range(6)]


def test_killed_and_continued_by_other_processes(forks: Forks, pictures: Path) -> None:
    """One is killed, two of torchrun do the rest: the parts are those of a single unbroken run."""
    for number in range(150):
        os.link(pictures / NAMES[number % 2], pictures / f"x{number:03d}.jpg")
    args = [str(pictures), "--output", "found", "--part_size", "2", "--batch_size", "2"]
    script = Path("predict.py")
    script.write_text("import sys\nfrom ssd.commands.predict import main\nsys.exit(main(sys.argv[1:]))\n")
    alone = [sys.executable, str(script), "--ckpt", "model.pth", *args]
    run = subprocess.Popen(alone, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for_parts(run, 4)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    assert 4 <= count_parts() < 78

    stamps = {path: path.stat().st_mtime_ns for path in Path("found", "_job").glob("part-*")}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *alone[1:]]
    done = subprocess.run(torchrun, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    (to_do,) = re.findall(r"156 images in 78 parts, (\d+) of them to do", done.stdout)  # says rank 0
    assert 0 < int(to_do) <= 78 - len(stamps)  # rank 1 may have begun before it looked
    assert "156 images, 1 failed" in done.stdout, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert not list(Path("found").rglob("*.tmp"))

    unbroken = (script, "--ckpt", "model.pth", args[0], "--output", "unbroken", *args[3:])
    assert forks(*unbroken, cwd=Path.cwd())[0] == [1]  # in as many threads, hence equal bits
    assert contents("found") == contents("unbroken")
    assert len(contents("found")) == 78


def count_parts() -> int:
    return len(list(Path("found", "_job").glob("part-*.json")))


def wait_for_parts(run: subprocess.Popen[bytes], count: int) -> None:
    deadline = time.monotonic() + 100
    while count_parts() < count:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_arguments() -> None:
    words = ["--ckpt", "m.pth", "a", "b b", "--output", "o", "--tile", "--score-threshold", "0.5", "c"]
    words += ["--opts", "MODEL.DEVICE", "cpu"]
    args = parse_args(words)
    assert (args.sources, args.tile, args.score_threshold) == (["a", "b b", "c"], True, 0.5)
    assert args.opts == ["MODEL.DEVICE", "cpu"]
    assert parse_args([*words[:2], "a", "--output", "o", "--tile", "400"]).tile == 400
    with pytest.raises(SystemExit):
        parse_args(["--tile", "a", "--output", "o"])
