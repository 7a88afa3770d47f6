"""The command `ssd fit`: from a folder to a report, on a few rendered images."""

import re
import shutil
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

import ssd
from ssd.cli import main
from ssd.commands.train import main as train
from ssd.config import load_config
from ssd.data import build_datasets
from ssd.deploy.detector import Run
from ssd.modeling.backbone import build_backbone
from ssd.tools.fit.start import RANDOM, choose_pixels, choose_start
from ssd.utils.errors import CheckpointError, ConfigError, DatasetError
from tests.conftest import SMALL_MODEL, restored_logger

SMALL = [
    *("INPUT.IMAGE_SIZE", (96, 128), "SOLVER.BATCH_SIZE", 2, "DATA_LOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"),
    *("SOLVER.MAX_ITER", 4, "CHECKPOINT.KEEP", -1),
]


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_MODEL_ZOO", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def fitted(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a new division."""
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch, restored_logger():
        patch.setenv("TORCH_MODEL_ZOO", str(folder / "cache"))
        return ssd.fit(scenes, output=folder / "run", resplit=True, overrides=SMALL)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return state


def test_a_run_leaves_a_detector_a_report_and_pictures(fitted: Run) -> None:
    assert fitted.status == 0
    (report,) = fitted.reports
    page = report.read_text()
    assert "cannot be learnt" in page
    assert "best main metric" in page
    assert len(list((fitted.folder / "drawn").iterdir())) == 2
    assert fitted.metrics["test"].keys() >= {"AP", "AP50"}
    assert fitted.checkpoint is not None
    assert len(ssd.init_detector(fitted.checkpoint).class_names) == 9


def test_the_config_repeats_the_training_to_the_same_weights(fitted: Run, tmp_path: Path) -> None:
    config = fitted.folder / "fit.yaml"
    assert train(["--config-file", str(config), "--skip-test", "OUTPUT_DIR", str(tmp_path / "again")]) == 0
    first, second = (weights(folder / "model_final.pth") for folder in (fitted.folder, tmp_path / "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_folder_continues_and_other_options_are_refused(fitted, scenes, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(fitted.folder, folder, symlinks=True)
    again = ssd.fit(scenes, output=folder, dry_run=True)
    assert (again.plan, "is continued" in capsys.readouterr().out) == (fitted.plan, True)
    assert ssd.fit(scenes, output=folder, dry_run=True, resplit=True, overrides=SMALL).plan == fitted.plan
    for other, options in ((scenes, {"minutes": 3}), (tmp_path, {})):
        with pytest.raises(ConfigError, match="--output"):
            ssd.fit(other, output=folder, **options)  # type: ignore[arg-type]


def test_an_interrupted_run_continues_to_the_same_weights(fitted: Run, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(fitted.folder, folder, symlinks=True)
    for path in (*folder.glob("model_[bf]*.pth"), *folder.glob("inference/*/report.html")):
        path.unlink()
    (folder / "last_checkpoint.txt").write_text(str(folder / "model_000002.pth"))
    again = ssd.fit(scenes, output=folder)
    assert again.reports == (folder / "inference/test/report.html",)
    first, second = (weights(path / "model_final.pth") for path in (fitted.folder, folder))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_dry_run_plans_and_writes_nothing(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", str(scenes), "--minutes", "0.6", "--dry-run", *map(str, SMALL[:8])]
    assert main(command) == 0
    plan = capsys.readouterr().out
    topics = [line.split()[0] for line in plan.strip().splitlines()]
    assert topics[:7] == ["data", "split", "start", "network", "input", "priors", "training"]
    assert "8 images to train on, 4 held out: the folder's own (trainval; test)" in plan
    steps, minutes = re.search(r"(\d+) steps .* about ([\d.]+) minutes", plan).groups()  # type: ignore[union-attr]
    assert int(steps) > 4
    assert float(minutes) <= 0.7
    assert list(tmp_path.iterdir()) == []
    assert main([*command, "--minutes", "-1"]) == 1
    assert "--minutes" in capsys.readouterr().err


def test_images_that_are_all_alike_are_split_with_a_warning(scenes: Path, tmp_path: Path) -> None:
    image, annotation = (sorted((scenes / name).iterdir())[0] for name in ("JPEGImages", "Annotations"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        shutil.copy(image, folder / f"{number}{image.suffix}")
        text = annotation.read_text().replace(image.name, f"{number}{image.suffix}")
        (folder / f"{number}.xml").write_text(text)
    plan = ssd.fit(folder, dry_run=True, overrides=SMALL).plan
    assert "5 images to train on, 1 held out" in plan
    assert "6 images look alike" in plan


def test_an_image_that_cannot_be_read_stops_it_or_is_left_out(scenes: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scenes, tmp_path / "photos")
    bad = sorted((folder / "JPEGImages").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:900])
    with pytest.raises(DatasetError, match=bad.name):
        ssd.fit(folder, dry_run=True, resplit=True, overrides=SMALL)
    skip = ["DATASETS.ON_ERROR", "skip"]
    assert "11 images" in ssd.fit(folder, dry_run=True, resplit=True, overrides=[*SMALL, *skip]).plan


def test_starts(detector_file: Path, finished_run: Path, tmp_path: Path) -> None:
    start = choose_start(str(detector_file))
    cfg, own = load_config(start.recipe, start.overrides), load_config(None, SMALL_MODEL)
    found = (cfg.MODEL.WEIGHTS, cfg.MODEL.PRIORS, cfg.INPUT.IMAGE_SIZE, cfg.MODEL.NECK.NAME)
    assert found == (str(detector_file), own.MODEL.PRIORS, own.INPUT.IMAGE_SIZE, "none")
    assert (cfg.SOLVER.OPTIMIZER, cfg.MODEL.NUM_CLASSES) == ("adamw", 0)
    torch.save({"layer.weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        choose_start(str(tmp_path / "other.pth"))
    assert choose_start(None).recipe == RANDOM
    cached = tmp_path / "cache" / "mobilenet_v2-b0353104.pth"
    cached.parent.mkdir()
    cached.write_bytes(b"")
    assert str(cached) in choose_start(None).text


@pytest.mark.parametrize("scale", [1.0, 57.0])
def test_pixels_follow_from_the_statistics_of_the_weights(scale: float, scenes: Path, tmp_path: Path) -> None:
    """Weights for pixels that are divided by 57, or whose first convolution is as much smaller."""
    cfg = load_config("modern/own_data.yaml", ["MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", 64])
    custom = {"a": {"FORMAT": "voc", "ROOT": str(scenes), "SPLIT": "test"}}
    (dataset,) = build_datasets(cfg.with_overrides(["DATASETS.CUSTOM", custom, "DATASETS.TEST", ["a"]]), is_train=False)
    backbone = build_backbone(cfg, False)
    images = np.stack([cv2.resize(dataset[row][0], (64, 64)) for row in range(4)])
    pixels = (torch.tensor(images).permute(0, 3, 1, 2) - 115.0) / 57
    first = backbone.features[0]
    with torch.no_grad():
        first[1].running_var.copy_(first[0](pixels).var(dim=(0, 2, 3)))
        first[0].weight /= scale
    path = tmp_path / "backbone.pth"
    torch.save({name: value for name, value in backbone.state_dict().items() if "extras" not in name}, path)
    start = choose_start(str(path))
    cfg = load_config(start.recipe, [*start.overrides, "INPUT.IMAGE_SIZE", 64])
    overrides = choose_pixels(cfg, dataset)
    assert overrides == ([] if scale == 1 else ["INPUT.PIXEL_MEAN", [123, 117, 104], "INPUT.PIXEL_STD", [1, 1, 1]])


def test_a_newcomers_afternoon(fitted, scenes, monkeypatch, capsys) -> None:
    """Six commands, typed without reading the documentation."""
    fit, export = Mock(return_value=fitted), Mock(return_value=0)
    monkeypatch.setattr("ssd.commands.fit.fit", fit)
    monkeypatch.setattr("ssd.commands.export.export", export)
    Path("photos").symlink_to(scenes)
    shutil.copytree(fitted.folder, "runs/photos", symlinks=True)
    shutil.copy(next(scenes.glob("JPEGImages/*")), "new.jpg")

    def type_in(line: str) -> tuple[int, str]:
        try:
            status = main(line.split())
        except SystemExit as error:
            status = int(error.code or 0)
        output = capsys.readouterr()
        return status, output.out + output.err

    assert type_in("")[0] == 0
    assert (type_in("fit photos")[0], fit.call_args.args) == (0, ("photos",))
    assert (type_in("predict runs/photos new.jpg")[0], Path("predicted/new.jpg").is_file()) == (0, True)
    status, said = type_in("train --epochs 5 photos")
    assert (status, said.count("\n"), "`ssd fit photos`" in said) == (2, 1, True)
    assert (type_in("export runs/photos")[0], export.call_args.args[0].output) == (0, Path("runs/photos/model.onnx"))
    assert (type_in("explain runs/photos new.jpg")[0], Path("explained/explain.html").is_file()) == (0, True)


def test_the_quickstart_names_the_command_that_renders_its_images(capsys: pytest.CaptureFixture) -> None:
    assert (main(["train", "quickstart"]), "`ssd data scenes`" in capsys.readouterr().err) == (1, True)
