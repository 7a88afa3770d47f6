"""The console command: finds its sub-commands and ends as the scripts do."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssd import __version__
from ssd.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("args", "status", "facts"),
    [
        (["--help"], 0, [*COMMANDS, *(help_text for _, help_text in COMMANDS.values())]),
        (["--version"], 0, [f"ssd-detector {__version__}"]),
        ([], 2, ["usage: ssd"]),
        (["exprt"], 2, ["usage: ssd"]),
        (["export", "--help"], 0, ["usage: ssd export", "--config-file", "--config_file", "--skip-latency"]),
        (["export", "--help"], 0, ["--calibration_images", "--calibration-images"]),
    ],
)
def test_usage(args: list[str], status: int, facts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == status
    output = capsys.readouterr()
    text = " ".join((output.err if status else output.out).split())
    assert [fact for fact in facts if fact not in text] == []


def test_mistakes_end_in_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--config-file", "nowhere.yaml", "-o", "model.onnx"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "nowhere.yaml" in error


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["-m", "ssd.cli", "--version"], f"ssd-detector {__version__}\n"),
        (["-c", "import sys, ssd.cli; print('torch' in sys.modules)"], "False\n"),
    ],
)
def test_as_a_module(words: list[str], output: str) -> None:
    run = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == (output, "")


def test_entry_point() -> None:
    assert '[project.scripts]\nssd = "ssd.cli:main"\n' in (ROOT / "pyproject.toml").read_text()
