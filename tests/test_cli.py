"""The console command: finds its sub-commands, says what there is, and ends as the scripts do."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssd import __version__
from ssd.cli import main

ROOT = Path(__file__).parents[1]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["export", "write", "a"] for line in lines)
    assert any(line.split()[:3] == ["check-data", "list", "all"] for line in lines)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"ssd-detector {__version__}\n"


@pytest.mark.parametrize("args", [[], ["exprt"]])
def test_a_command_must_be_named(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 2
    assert "usage: ssd" in capsys.readouterr().err


def test_options_reach_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["export", "--help"])
    assert exit_info.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: ssd export")
    for name in ("--config-file", "--config_file", "--calibration_images", "--calibration-images", "--skip-latency"):
        assert name in out


def test_mistakes_end_in_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--config-file", "nowhere.yaml", "-o", "model.onnx"]) == 1
    assert capsys.readouterr().err == "error: config file 'nowhere.yaml' does not exist\n"


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "ssd.cli", "--version"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"ssd-detector {__version__}\n", "")


def test_listing_the_commands_loads_none_of_them() -> None:
    code = "import sys, ssd.cli; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_entry_point() -> None:
    assert '[project.scripts]\nssd = "ssd.cli:main"\n' in (ROOT / "pyproject.toml").read_text()
