"""What is written: explain.json, pictures, and the command."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from ssd.cli import main as ssd_main
from ssd.commands.explain import main, parse_args
from ssd.config import load_config
from ssd.data import build_datasets
from ssd.tools.explain import pictures
from ssd.tools.explain.explain import explain
from ssd.tools.explain.explain_plots import ObjectDrawing
from ssd.tools.explain.explanation import Explanation
from ssd.utils.image import read_image, write_image
from tests.tools.explain.small import BOXES, LABELS, make_detector, make_image, make_model

ROOT = Path(__file__).parents[3]
TEXTS = {"explain.html", "explain.json"}
PICTURES = {"priors.png", "matches.png", "negatives.png", "detection.png"}


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return explain(make_detector(), make_image(), BOXES, LABELS)


def test_all_files(explanation: Explanation, tmp_path: Path) -> None:
    paths = explanation.draw(tmp_path / "new" / "folder", detection=2)
    assert {path.name for path in paths} == {*TEXTS, *PICTURES}
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {*TEXTS, *PICTURES}
    for path in paths[2:]:
        picture = read_image(path)
        assert picture.shape[1] > 900
        assert picture.std() > 10
    page = paths[0].read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("<table") == 4
    assert "snow leopard" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    report = json.loads(paths[1].read_text())
    assert report == json.loads(json.dumps(explanation.as_dict(2)))
    assert report["network_size"] == [96, 64]
    assert [level["num_priors"] for level in report["levels"]] == [384, 144, 24, 8]
    assert report["trace"]["detection"] == 2


def test_the_numbers_agree(explanation: Explanation) -> None:
    report, matching, found = explanation.as_dict(), explanation.matching, explanation.candidates
    assert matching is not None
    training, detection = report["training"], report["detection"]
    assert sum(len(item["priors"]) for item in training["objects"]) == training["num_positives"]
    assert [item["rank"] for item in training["negatives"]] == list(range(1, 3 * training["num_positives"] + 1))
    assert {item["prior"] for item in training["negatives"]} == set(matching.neg_mask.nonzero().flatten().tolist())
    assert [item["priors"][0]["forced"] for item in training["objects"]].count(True) == matching.is_forced.sum()
    assert sum(detection["counts"].values()) == len(found.priors) == len(detection["candidates"])
    assert detection["num_above"] == (explanation.class_scores[:, 1:] > found.score_threshold).sum()
    for item in report["trace"]["suppressed"]:
        assert detection["candidates"][item["candidate"]]["suppressed_by"] == report["trace"]["candidate"]


def test_objects_say_what_they_are_learnt_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object has a prior of its own until there are more objects than priors."""
    drawn: list[ObjectDrawing] = []
    monkeypatch.setattr(pictures, "plot_matches", lambda image, objects: drawn.extend(objects))
    explanation = explain(make_detector(), make_image(), [BOXES[0]] + [BOXES[2]] * 560, [2] + [1] * 560)
    assert explanation.matching is not None
    assert len(explanation.priors) == 560
    pictures.draw_matches(explanation, explanation.matching)
    assert [item.name for item in drawn] == ["dog"] + ["cat"] * 560
    assert re.fullmatch(r"\d+ priors?, best IoU 0\.[5-9]\d, level.*", drawn[0].text)
    assert drawn[1].text == "forced, IoU 0.01, level 1"
    assert [item.text for item in drawn].count("no prior is left for it") == len(drawn[0].matched)


def test_an_image_in_which_nothing_is_found(tmp_path: Path) -> None:
    explanation = explain(make_detector("TEST.CONFIDENCE_THRESHOLD", 1.0), make_image(), [], [])
    paths = explanation.draw(tmp_path)
    assert {path.name for path in paths} == {*TEXTS, "priors.png", "negatives.png"}
    assert "there is no detection" in paths[0].read_text()
    report = json.loads(paths[1].read_text())
    assert report["trace"] is None
    assert report["training"]["objects"] == report["detection"]["candidates"] == []


def test_command_on_a_dataset(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = list(build_datasets(load_config(config_file), is_train=False)[0].class_names)
    shape = ["INPUT.IMAGE_SIZE", (96, 128), "MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 4]
    model, _ = make_model("MODEL.NUM_CLASSES", len(names), *shape)
    checkpoint = tmp_path / "model.pth"
    config = load_config(config_file).dump()
    torch.save({"model": model.state_dict(), "class_names": names, "config": config}, checkpoint)
    arguments = ["--config-file", str(config_file), "--ckpt", str(checkpoint), "-o", str(tmp_path / "explained")]
    assert ssd_main(["explain", "--dataset", "test_scenes", "--index", "1", *arguments]) == 0
    output = capsys.readouterr().out
    assert "test_scenes[1]: 128 x 96, seen as 128 x 96" in output
    assert "negatives in the loss" in output
    assert {path.name for path in (tmp_path / "explained").iterdir()} == {*TEXTS, *PICTURES}

    write_image(make_image(), tmp_path / "image.png")
    alone = ["--ckpt", str(checkpoint), "-o", str(tmp_path / "of_checkpoint")]  # which carries its config
    assert main([str(tmp_path / "image.png"), *alone, "TEST.CONFIDENCE_THRESHOLD", "1.0"]) == 0
    assert "0 candidates score above 1;" in capsys.readouterr().out

    assert main(["--dataset", "test_scenes", "--index", "4", *arguments]) == 1
    assert "--index 4: test_scenes has 4 images, counted from 0" in capsys.readouterr().err
    assert main([str(tmp_path / "image.png"), "--detection", "1000", *arguments]) == 1
    assert "detection 1000 of" in capsys.readouterr().err


def test_an_image_and_a_dataset_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config-file", "small.yaml"]) == 1
    assert "name an IMAGE, or --dataset NAME" in capsys.readouterr().err
    assert main(["image.png", "--dataset", "test_scenes", "--config-file", "small.yaml", "MODEL.DEVICE", "cpu"]) == 1
    assert "leave 'image.png' out" in capsys.readouterr().err


def test_image_and_keys_are_told_apart() -> None:
    parsed = parse_args(["street.jpg", "--config-file", "small.yaml", "MODEL.DEVICE", "cpu"])
    assert (parsed.image, parsed.opts) == ("street.jpg", ["MODEL.DEVICE", "cpu"])
    parsed = parse_args(["--dataset", "test_scenes", "--config-file", "small.yaml", "MODEL.DEVICE", "cpu"])
    assert (parsed.image, parsed.opts) == (None, ["MODEL.DEVICE", "cpu"])


def test_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands parse, its Python runs, its pictures are small."""
    text = (ROOT / "docs" / "explain.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^ssd explain (.*)$", text, flags=re.MULTILINE)
    assert commands
    for command in commands:
        parsed = parse_args(shlex.split(command))
        assert (ROOT / parsed.config_file).is_file()
    pictures = re.findall(r"^!\[.*\]\((.*)\)$", text, flags=re.MULTILINE)
    assert {Path(name).name for name in pictures} == PICTURES
    assert all((ROOT / "docs" / name).stat().st_size < 150_000 for name in pictures)

    model, cfg = make_model()
    names = ["__background__", "cross", "star", "ring"]
    (tmp_path / "outputs" / "quickstart").mkdir(parents=True)
    state = {"model": model.state_dict(), "class_names": names, "config": cfg.dump()}
    torch.save(state, tmp_path / "outputs" / "quickstart" / "model_final.pth")
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Explanation, "draw", lambda self, folder: None)  # see test_all_files
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    exec(compile(block, "explain.md", "exec"), {})
    assert "negatives, the hardest with loss" in capsys.readouterr().out
