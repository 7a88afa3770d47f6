"""The console command: finds its sub-commands and ends as the scripts do."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssd import __version__
from ssd.cli import COMMANDS, GROUPS, main
from ssd.commands import data

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("args", "status", "facts"),
    [
        ("", 0, [*GROUPS, *COMMANDS, *(help_text for _, help_text in COMMANDS.values())]),
        ("--help", 0, [*COMMANDS]),
        ("--version", 0, [f"ssd-detector {__version__}"]),
        ("data", 0, [*data.COMMANDS]),
        ("help export", 0, ["usage: ssd export MODEL", "--num-images N", "comparison (10)", "ssd export runs/photos"]),
        ("explain --help", 0, ["from 0 (0)", "(explained)", "KEY VALUE"]),
        ("trian", 2, ["`ssd train`"]),
        ("val", 2, ["`ssd test`"]),
        ("data brows", 2, ["`ssd data browse`"]),
        ("tests", 2, ["`ssd test`"]),
    ],
)
def test_usage(args: str, status: int, facts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(args) == status
    output = capsys.readouterr()
    text = " ".join((output.err if status else output.out).split())
    assert [fact for fact in facts if fact not in text] == []


def call(line: str) -> int:
    """Return the exit status of a command line."""
    try:
        return main(line.split())
    except SystemExit as error:
        return int(error.code or 0)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("train quickstart --lr 0.1", "SOLVER.LR 0.1"),
        ("train quickstart --batch_size=8", "SOLVER.BATCH_SIZE 8"),
        ("train --epochs 5 photos", "`ssd fit photos`"),
        ("train --epochs 5 mine.yaml", "SOLVER.MAX_ITER"),
        ("train --skip-tests mine.yaml", "--skip-test"),
        ("train mine.yaml other.yaml", "other.yaml"),
        ("fit photos --imgsz 320", "INPUT.IMAGE_SIZE 320"),
        ("predict m.pth a.jpg --score-treshold .5", "--threshold"),
        ("predict new.jpg", "MODEL is missing"),
        ("predict m.pth", "SOURCE is missing"),
        ("export", "MODEL is missing"),
        ("train", "CONFIG is missing"),
        ("data check", "ssd data check photos"),
        ("data convert --to coco -o a", "SOURCE is missing"),
    ],
)
def test_a_mistake_is_answered_in_one_line(line, remedy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    assert call(line) == 2
    error = capsys.readouterr().err
    assert (error[:7], error.count("\n"), remedy in error) == ("error: ", 1, True), error


@pytest.mark.parametrize("line", ["train photos", "test photos", "predict photos a.jpg", "export photos"])
def test_a_folder_of_images_is_no_config_and_no_detector(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    assert (call(line), "`ssd fit photos`" in capsys.readouterr().err) == (1, True)


def test_mistakes_end_in_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--config-file", "nowhere.yaml", "-o", "model.onnx"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "nowhere.yaml" in error


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["-m", "ssd", "--version"], f"ssd-detector {__version__}\n"),
        (["-m", "ssd.cli", "--version"], f"ssd-detector {__version__}\n"),
        (["-c", "import sys, ssd.cli; print('torch' in sys.modules)"], "False\n"),
    ],
)
def test_as_a_module(words: list[str], output: str) -> None:
    run = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == (output, "")


def test_entry_point() -> None:
    assert '[project.scripts]\nssd = "ssd.cli:main"\n' in (ROOT / "pyproject.toml").read_text()
