"""The command: report, files, fit, and its mistakes."""

import json
from pathlib import Path

import pytest

from ssd.commands.priors import main
from ssd.config import load_config

FILES = {"priors.html", "priors.json", "priors.txt"}


def priors(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_report_and_files(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert priors(config_file, "-o", tmp_path / "priors", "--num_images", 20) == 0
    output = capsys.readouterr().out
    for fact in ("128 x 96", "8 images", "20 samples"):
        assert fact in output
    assert {path.name for path in (tmp_path / "priors").iterdir()} == FILES
    page = (tmp_path / "priors/priors.html").read_text()
    assert page.count("data:image/svg") == 6  # three plots, light and dark
    assert "<dt>only forced</dt>" in page
    report = json.loads((tmp_path / "priors/priors.json").read_text())
    assert report["image_size"] == [96, 128]
    data = report["parts"]["data"]
    assert sum(group["num_objects"] for group in data["by_class"]) == data["total"]["num_objects"] > 0
    for name in ("data", "augmented"):
        assert sum(level["positives"][name] for level in report["levels"]) == pytest.approx(1)
    assert sum(level["num_priors"] for level in report["levels"]) == 4 * (12 * 16 + 6 * 8 + 3 * 4 + 2 * 2)


def test_a_fit_derives_from_the_config_and_keeps_the_overrides(config_file, scenes, tmp_path, capsys):
    """The numbers of priors follow from the new ratios."""
    target = tmp_path / "elsewhere" / "fitted.yaml"
    entry = {"FORMAT": "voc", "ROOT": str(scenes), "SPLIT": "trainval"}
    overrides = ["DATASETS.CUSTOM.mine", entry, "DATASETS.TRAIN", "('mine',)", "SOLVER.SEED", 3]
    overrides += ["MODEL.PRIORS.MIN_SIZES", [40, 50, 60, 70], "MODEL.PRIORS.MAX_SIZES", [50, 60, 70, 90]]
    overrides += ["MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4, "MODEL.PRIORS.BOXES_PER_LOCATION", [6] * 4]
    options = ["--fit", target, "--max_ratios", 1, "-o", tmp_path / "priors", "--num_images", 8]
    assert priors(config_file, *overrides, *options) == 0
    assert f"{target}: " in capsys.readouterr().out
    assert "_BASE_: ../small.yaml" in target.read_text()
    fitted, base = load_config(target), load_config(config_file)
    assert (fitted.SOLVER.SEED, fitted.DATASETS.TRAIN, dict(fitted.DATASETS.CUSTOM.mine)) == (3, ("mine",), entry)
    assert fitted.DATASETS.TEST == base.DATASETS.TEST
    ratios = fitted.MODEL.PRIORS.ASPECT_RATIOS
    assert max(map(len, ratios)) == 1
    assert list(fitted.MODEL.PRIORS.BOXES_PER_LOCATION) == [2 + 2 * len(own) for own in ratios]
    reports = [json.loads((tmp_path / "priors" / name / "priors.json").read_text()) for name in ("", "fitted")]
    before, after = (report["parts"]["data"]["total"]["recall"] for report in reports)
    assert after > before
    assert priors(target, "--num_images", 8) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fit", "priors.json"], "must end in .yaml"),
        (["--num_images", "0"], "--num-images must be at least 1"),
        (["--max_ratios", "9"], "--max-ratios must be between 0 and 4"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["MODEL.PRIORS.MIN_SIZES", "[20]"], "MODEL.PRIORS.MIN_SIZES has 1 entries"),
        (["--fit", "a.yaml", "MODEL.PRIORS.SHAPES", "[[[9, 9]]]"], "MODEL.PRIORS, whose place its SHAPES take"),
        (["--fit", "{config}"], "is the config itself"),
    ],
)
def test_mistakes(config_file: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = config_file.read_text()
    assert priors(config_file.with_suffix(""), *(option.format(config=config_file) for option in options)) == 1
    assert message in capsys.readouterr().err
    assert config_file.read_text() == content


def test_data_without_objects(config_file, write_voc, capsys):
    custom = {"FORMAT": "voc", "ROOT": str(write_voc({"a": []})), "SPLIT": "train", "CLASSES": ["disk"]}
    assert priors(config_file, "DATASETS.CUSTOM.none", custom, "DATASETS.TRAIN", "('none',)") == 1
    assert "no object in 1 images" in capsys.readouterr().err
