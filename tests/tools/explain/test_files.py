import re
from pathlib import Path

import pytest
import torch

from ssd.cli import main as ssd_main
from ssd.commands.explain import main, parse_args
from ssd.config import load_config
from ssd.data import build_datasets
from ssd.tools.explain.explain import explain
from ssd.utils.image import read_image, write_image
from tests.tools.explain.small import BOXES, LABELS, make_detector, make_image, make_model

ROOT = Path(__file__).parents[3]
PICTURES = {"detections.png", "priors.png", "matches.png", "negatives.png", "detection.png"}


def write_checkpoint(path: Path, class_names: list[str], *overrides: object) -> None:
    model, cfg = make_model(*overrides)
    torch.save({"model": model.state_dict(), "class_names": class_names, "config": cfg.dump()}, path)


def test_files(tmp_path: Path) -> None:
    explanation = explain(make_detector(), make_image(), BOXES, LABELS)
    paths = explanation.write(tmp_path / "new" / "folder", detection=2)
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert {path.name for path in paths} == {"explain.html", *PICTURES}
    for path in paths[1:]:
        picture = read_image(path)
        assert picture.shape[1] > (700 if path.stem == "detections" else 900)
        assert picture.std() > 10
    page = paths[0].read_text()
    assert (page.count("data:image/png;base64,"), page.count("<table")) == (5, 2)
    assert "snow leopard" in page
    assert page.index('id="detections"') < page.index('id="priors"')
    assert "comes from one of" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_an_image_without_objects_and_detections(tmp_path: Path) -> None:
    explanation = explain(make_detector("TEST.CONFIDENCE_THRESHOLD", 1.0), make_image(), [], [])
    paths = explanation.write(tmp_path)
    assert {path.name for path in paths} == {"explain.html", "priors.png", "negatives.png"}
    assert "0 candidates" in str(explanation)


def test_command(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = list(build_datasets(load_config(config_file), is_train=False)[0].class_names)
    shape = ["INPUT.IMAGE_SIZE", (96, 128), "MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 4]
    checkpoint = tmp_path / "model.pth"
    write_checkpoint(checkpoint, names, "MODEL.NUM_CLASSES", len(names), *shape)
    arguments = ["--config-file", str(config_file), "--ckpt", str(checkpoint), "-o", str(tmp_path / "explained")]
    assert ssd_main(["explain", "--dataset", "test_scenes", "--index", "1", *arguments]) == 0
    output = capsys.readouterr().out
    assert "test_scenes[1]: 128 x 96" in output
    assert "negatives in the loss" in output
    assert {path.name for path in (tmp_path / "explained").iterdir()} == {"explain.html", *PICTURES}
    write_image(make_image(), tmp_path / "image.png")
    alone = ["--ckpt", str(checkpoint), "-o", str(tmp_path / "of_checkpoint")]  # which carries its config
    assert main([str(tmp_path / "image.png"), *alone, "TEST.CONFIDENCE_THRESHOLD", "1.0"]) == 0
    assert "0 candidates" in capsys.readouterr().out
    assert main(["--dataset", "test_scenes", "--index", "4", *arguments]) == 1
    assert "--index 4: test_scenes has 4 images" in capsys.readouterr().err
    assert main([str(tmp_path / "image.png"), "--detection", "1000", *arguments]) == 1
    assert "detection 1000" in capsys.readouterr().err


def test_image_keys_and_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--config-file", "small.yaml", "MODEL.DEVICE", "cpu"]
    for words, image in ((["street.jpg"], "street.jpg"), (["--dataset", "test_scenes"], None)):
        parsed = parse_args([*words, *keys])
        assert (parsed.image, parsed.opts) == (image, ["MODEL.DEVICE", "cpu"])
    for words, fact in (([], "IMAGE is missing"), (["image.png", "--dataset", "test_scenes"], "'image.png'")):
        with pytest.raises(SystemExit):
            main([*words, *keys])
        assert fact in capsys.readouterr().err


def test_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "explain.md").read_text()
    checkpoint = tmp_path / "outputs/quickstart/model_final.pth"
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, ["__background__", "cross", "star", "ring"])
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    exec(compile(block, "explain.md", "exec"), {})
    assert "negatives, the hardest with loss" in capsys.readouterr().out
    assert (tmp_path / "explained" / "explain.html").is_file()
