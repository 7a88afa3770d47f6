"""Paths with ~, which a shell leaves as it is in --output=~/folder and in KEY=~/folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ssd.commands import check_data, convert, data_convert, data_split, demo, explain, export, predict, priors, test
from ssd.config import load_config
from ssd.inference.sources import open_source
from ssd.tools.bulk.listing import list_images
from ssd.utils.checkpoint_file import local_file
from ssd.utils.errors import CheckpointError, ConfigError

COMMANDS = [
    (check_data.parse_args, "~/c.yaml --json=~/a"),
    (convert.parse_args, "a.pth --output=~/a"),
    (data_convert.parse_args, "~/s --to coco --output=~/a"),
    (data_split.parse_args, "~/s --output=~/a --write-config=~/b --base=~/c"),
    (demo.parse_args, "--ckpt a.pth --output_dir=~/a --save_json=~/b --save_txt=~/c"),
    (explain.parse_args, "a.jpg --ckpt a.pth --output=~/a"),
    (export.parse_args, "--ckpt a.pth --output=~/a.onnx"),
    (predict.parse_args, "a.jpg --ckpt a.pth --output=~/a --list=~/b"),
    (priors.parse_args, "~/c.yaml --output=~/a --fit=~/b.yaml"),
    (test.parse_args, "a.pth --output_dir=~/a"),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("parse_args", "line"), COMMANDS)
def test_every_path_of_a_command_may_begin_with_it(parse_args: Callable, line: str, home: Path) -> None:
    values = [str(value) for value in vars(parse_args(line.split())).values()]
    assert not [value for value in values if value.startswith("~")]
    assert sum(value.startswith(f"{home}/") for value in values) == line.count("~")


def test_keys_of_a_config(home: Path) -> None:
    keys = ("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAINED")
    config = load_config(None, [item for key in keys for item in (key, "~/a")])
    assert {config.OUTPUT_DIR, config.MODEL.WEIGHTS, config.MODEL.BACKBONE.PRETRAINED} == {f"{home}/a"}
    (home / "a.yaml").write_text("OUTPUT_DIR: ~/b\n")
    assert f"{home}/b" == load_config("~/a.yaml").OUTPUT_DIR
    with pytest.raises(ConfigError, match=f"{home}/c.yaml"):
        load_config("~/c.yaml")


def test_files_that_are_opened(home: Path) -> None:
    (home / "a.jpg").touch()
    (home / "list.txt").write_text("~/b.jpg\n")
    assert [pending.name for pending in open_source("~/a.jpg")] == [f"{home}/a.jpg"]
    assert list_images(["~/a.jpg", "~", "~/*.jpg"], home / "list.txt") == [f"{home}/a.jpg"] * 3 + [f"{home}/b.jpg"]
    assert local_file("~/a.jpg") == home / "a.jpg"
    with pytest.raises(CheckpointError, match=str(home)):
        local_file("~/b.pth")
