"""docs/deployment.md: its Python blocks run, in order, and find what the detectors of this library find."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssd.commands.export import parse_args
from ssd.deploy.metadata import Metadata, to_json
from tests.deploy.detectors import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Path) -> Path:
    """The working directory with the files that the page names."""
    for source in exported.iterdir():
        shutil.copy(source, tmp_path / source.name.replace("complete", "model"))
    shutil.copy(ROOT / "demo" / "scene_1.jpg", tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("default::FutureWarning")  # of torch.export
def test_examples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS) == 4
    scope: dict[str, Any] = {}
    for block in BLOCKS[:2]:
        exec(compile(block, "deployment.md", "exec"), scope)
    ours, count = scope["result"], int(scope["counts"][0])
    assert len(ours) > 5
    assert abs(count - len(ours)) <= 0.2 * len(ours)  # its own resizing is off by a grey level here and there
    best = scope["boxes"][0, 0], scope["scores"][0, 0], scope["labels"][0, 0]
    near = [
        np.abs(best[0] - box).max() < 2 and best[2] == label for box, label in zip(ours.boxes, ours.labels, strict=True)
    ]
    assert any(near)
    assert ours.scores[near.index(True)] == pytest.approx(best[1], abs=0.05)
    assert capsys.readouterr().out.count("\n") >= count

    exec(compile(BLOCKS[2], "deployment.md", "exec"), scope)
    row, label = np.unravel_index(scope["raw_scores"][:, 1:].argmax(), scope["raw_scores"][:, 1:].shape)
    image_height, image_width = scope["image"].shape[:2]
    box = scope["raw_boxes"][row] * [image_width, image_height, image_width, image_height]
    np.testing.assert_allclose(box, ours.boxes[0], atol=0.1)
    assert (label + 1, scope["raw_scores"][row, label + 1]) == (ours.labels[0], pytest.approx(ours.scores[0], abs=1e-4))

    onnx_boxes = scope["boxes"]
    exec(compile(BLOCKS[3], "deployment.md", "exec"), scope)
    assert isinstance(scope["boxes"], torch.Tensor)
    np.testing.assert_allclose(scope["boxes"][0, :3].numpy(), onnx_boxes[0, :3], atol=0.5)


def test_the_table_of_keys(metadata: Metadata) -> None:
    keys = set(json.loads(to_json(metadata)))
    table = PAGE.partition("| key | |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert named == keys


def test_the_table_of_options() -> None:
    table = PAGE.partition("| option | |")[2].partition("\n\n")[0]
    options = re.findall(r"`(--?[\w-]+)(?: (\w+))?`", table)
    values = {"N": "3", "FILE": "model.onnx", "SOURCE": "photos"}
    words = [word for name, value in options for word in (name, values.get(value, value)) if word]
    parsed = vars(parse_args(["model.pth", *words]))
    shared = {"config_file", "ckpt", "output", "opts", "local_rank", "words", "has_model_word"}
    assert set(parsed) - {name.lstrip("-").replace("-", "_") for name, _ in options} == shared
