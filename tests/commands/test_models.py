import json
from pathlib import Path

import pytest

from ssd.cli import main
from ssd.utils.model_zoo import zoo_models


def test_list_and_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORCH_MODEL_ZOO", str(tmp_path))
    (tmp_path / "MobileNetSSD_deploy.caffemodel").touch()
    assert main(["models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert (head.split()[:2], head.split()[-1]) == (["name", "network"], "cached")
    assert [row.split()[0] for row in rows if row.endswith("  yes")] == ["chuanqi305/mobilenet_ssd"]
    assert [row.split()[0] for row in rows] == [*zoo_models()]
    assert main(["models", "MobileNetV2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "mmdet/ssdlite_mobilenetv2_coco" in [model["name"] for model in found]
    assert all("MobileNetV2" in model["network"] for model in found)
    assert (main(["models", "yolo"]), "yolo" in capsys.readouterr().out) == (1, True)
