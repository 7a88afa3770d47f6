"""The command that checks datasets."""

import json
import shutil
from pathlib import Path

import pytest

from ssd.commands.check_data import main


def check(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_sound_data(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(config_file, "--json", tmp_path / "report.json") == 0
    output = capsys.readouterr().out
    assert "train_scenes (train): 8 images listed, 8 readable" in output
    assert output.endswith("errors: 0, warnings: 0\n")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["errors"], report["warnings"], report["problems"]) == (0, 0, [])
    assert [item["name"] for item in report["sets"]] == ["train_scenes", "test_scenes"]
    assert sum(report["totals"]["train"].values()) == sum(report["sets"][0]["objects"]["by_class"].values()) > 0
    assert check(config_file, "--json", tmp_path / "nowhere" / "report.json") == 1
    assert "report.json: cannot be written" in capsys.readouterr().err


def test_an_error_decides_the_exit_status_and_a_warning_does_not(config_file, scenes, tmp_path, capsys):
    root = shutil.copytree(scenes, tmp_path / "copy")
    custom = ["DATASETS.CUSTOM.copy", str({"FORMAT": "voc", "ROOT": str(root), "SPLIT": "trainval"})]
    arguments = [config_file, *custom, "DATASETS.TRAIN", "('copy',)", "DATASETS.TEST", "()"]
    split = root / "ImageSets/Main/trainval.txt"
    ids = split.read_text().split()
    split.write_text("\n".join([*ids, ids[0]]))
    assert check(*arguments) == 0
    assert "warning: duplicate image: 1" in capsys.readouterr().out
    split.write_text("\n".join([*ids, "nowhere_é", "nowhere_2"]), encoding="utf-8")
    assert check(*arguments, "--show", "1") == 1
    output = capsys.readouterr().out
    assert "error: missing annotation file: 2\n" in output
    assert ("nowhere_é.xml" in output, "nowhere_2.xml" in output) == (True, False)
    assert "... and 1 more\n" in output


def test_parts_of_a_folder_that_hold_the_same_images(scenes, tmp_path, capsys):
    """Train and val are parts of trainval: only that is read for training, so nothing overlaps."""
    root = shutil.copytree(scenes, tmp_path / "copy")
    lists = root / "ImageSets/Main"
    ids = (lists / "trainval.txt").read_text().split()
    (lists / "train.txt").write_text("\n".join(ids[:5]))
    (lists / "val.txt").write_text("\n".join(ids[5:]))
    assert check(root, "--json", tmp_path / "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(item["name"], item["role"]) for item in report["sets"]] == [("trainval", "train"), ("test", "test")]
    assert "train, val" in capsys.readouterr().out
