import json

import pytest

from ssd.cli import main
from ssd.utils.model_zoo import zoo_models


def test_list_and_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["name", "network"]
    assert [row.split()[0] for row in rows] == [*zoo_models()]
    assert main(["models", "MobileNetV2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "mmdet/ssdlite_mobilenetv2_coco" in [model["name"] for model in found]
    assert all("MobileNetV2" in model["network"] for model in found)
    assert (main(["models", "yolo"]), "yolo" in capsys.readouterr().out) == (1, True)
