"""Fixtures shared by the whole suite."""

import json
import logging
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import settings

from ssd.commands import train
from ssd.config import Config, cfg, load_config
from ssd.modeling.detector import build_detection_model
from ssd.tools.data.scenes import write_scenes
from tests.forks import Forks

ROOT = Path(__file__).parents[1]

# A detector so small that a training takes seconds.
SMALL_MODEL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "MODEL.DEVICE", "cpu"),
    *("INPUT.IMAGE_SIZE", (96, 128), "INPUT.PIXEL_STD", [58, 57, 57]),
    *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]], "DATA_LOADER.NUM_WORKERS", 0),
    *("SOLVER.WARMUP_ITERS", 10, "SOLVER.LR_STEPS", [], "SOLVER.BATCH_SIZE", 2),
]

# The same examples in every run; `--hypothesis-profile default` looks for others.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of arrays recorded by running other implementations (README there)."""
    return Path(__file__).parent / "goldens"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four test scenes in VOC layout."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, num_train=8, num_test=4, image_size=(128, 96), seed=0)
    return root


@pytest.fixture(scope="session")
def write_config(scenes: Path) -> Callable[[Path], Path]:
    """Write a config of the small model on the scenes into a folder, whose "out" gets the output; return its path."""

    def write(folder: Path) -> Path:
        config = load_config(None, SMALL_MODEL).clone()
        config.defrost()
        config.MODEL.NUM_CLASSES = 0
        config.OUTPUT_DIR = str(folder / "out")
        config.DATASETS.TRAIN, config.DATASETS.TEST = ("train_scenes",), ("test_scenes",)
        for name, split in (("train_scenes", "trainval"), ("test_scenes", "test")):
            config.DATASETS.CUSTOM[name] = Config({"FORMAT": "voc", "ROOT": str(scenes), "SPLIT": split})
        path = folder / "small.yaml"
        path.write_text(config.dump())
        return path

    return write


@pytest.fixture
def config_file(write_config: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A config of the small model on the scenes that writes to tmp_path/out."""
    return write_config(tmp_path)


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its config and three classes: untrained, with large scores."""
    config = load_config(None, [*SMALL_MODEL, "MODEL.NUM_CLASSES", 4])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_detection_model(config)
        for header in model.box_head.predictor.cls_headers:
            torch.nn.init.normal_(header.weight, std=0.3)
            torch.nn.init.zeros_(header.bias)
    path = tmp_path_factory.mktemp("detector") / "model.pth"
    class_names = ["__background__", "cat", "dog", "snow leopard"]
    torch.save({"model": model.state_dict(), "class_names": class_names, "config": config.dump()}, path)
    return path


@pytest.fixture
def pictures(tmp_path: Path, detector_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder "my pictures" of the working directory, with five images and a damaged one; beside it model.pth."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(detector_file, "model.pth")
    folder = Path("my pictures")
    folder.mkdir()
    names = ("a b.jpg", "b.JPG", "bad.png", "d#1%20.jpg", "e[1].jpeg", "ä日.jpg")  # in the order of a listing
    for source, name in zip(sorted((ROOT / "demo").glob("*.jpg")), names, strict=False):
        shutil.copy(source, folder / name)
    (folder / "bad.png").write_text("not an image")
    return folder


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a script of the repository in this process; return exit status, standard output and standard error."""

    def run(name: str, *args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        output = capsys.readouterr()
        status = exit_info.value.code
        assert isinstance(status, int)
        return status, output.out, output.err

    return run


@pytest.fixture(scope="session")
def forks() -> Forks:
    """Runs scripts in new processes that do not have to import PyTorch."""
    return Forks()


@contextmanager
def restored_logger() -> Iterator[None]:
    """Undo the changes of a script to the package's logger."""
    logger = logging.getLogger("ssd")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers, logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    with restored_logger():
        yield


@pytest.fixture(scope="session")
def finished_run(write_config: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run of three iterations."""
    folder = tmp_path_factory.mktemp("run")
    with restored_logger():
        command = ["--config-file", str(write_config(folder)), "--skip-test", "SOLVER.MAX_ITER", "3"]
        assert train.main(command) == 0
    return folder / "out"


@pytest.fixture
def trained(finished_run: Path, config_file: Path) -> Path:
    """The config of a run of three iterations, which may be changed."""
    output = config_file.parent / "out"
    shutil.copytree(finished_run, output)
    (output / "last_checkpoint.txt").write_text(str(output / "model_final.pth"))
    return config_file


def _object_xml(name: str, box: Sequence[float], difficult: int | None = 0) -> str:
    corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"


@pytest.fixture
def write_voc(tmp_path: Path) -> Callable[..., Path]:
    """Write a VOC folder: {id: [(name, box[, difficult])] or the XML itself}; returns its root."""

    def write(images: Mapping[str, Any], *, root: str = "voc", split: str = "train", suffix: str = ".png") -> Path:
        folder = tmp_path / root
        for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for number, (image_id, objects) in enumerate(images.items()):
            rng = np.random.default_rng(number)
            cv2.imwrite(str(folder / "JPEGImages" / f"{image_id}{suffix}"), rng.integers(0, 256, (30, 40, 3), np.uint8))
            xml = objects
            if not isinstance(objects, str):
                size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
                xml = f"<annotation>{size}{''.join(_object_xml(*item) for item in objects)}</annotation>"
            (folder / "Annotations" / f"{image_id}.xml").write_text(xml, encoding="utf-8")
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")
        return folder

    return write


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write COCO annotations and their images, 40 x 30 pixels unless they say otherwise; returns (images, json)."""

    def write(content: Any, *, name: str = "train") -> tuple[Path, Path]:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for image in content["images"]:
            shape = (image.get("height", 30), image.get("width", 40), 3)
            cv2.imwrite(str(folder / image["file_name"]), np.full(shape, 90, np.uint8))
        ann_file = tmp_path / f"{name}.json"
        ann_file.write_text(json.dumps(content))
        return folder, ann_file

    return write


@pytest.fixture
def make_cfg() -> Callable[..., Config]:
    """The defaults with a small input, no workers, and ``custom`` sets."""

    def make(custom: Mapping[str, Any] | None = None, **overrides: Any) -> Config:
        config = cfg.clone()
        for name, entry in (custom or {}).items():
            config.DATASETS.CUSTOM[name] = Config(entry)
        small = {"INPUT.IMAGE_SIZE": 32, "DATA_LOADER.NUM_WORKERS": 0, "SOLVER.BATCH_SIZE": 4, "SOLVER.MAX_ITER": 8}
        for key, value in {**small, **overrides}.items():
            config.merge_from_list([key, value])
        config.freeze()
        return config

    return make
