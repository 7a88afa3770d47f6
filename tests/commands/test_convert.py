"""`ssd convert` as a user runs it, and foreign files in place of our own; mb3-small is the smallest of them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssd
from ssd.commands.convert import main
from ssd.config import load_config
from ssd.config.files import shipped_config
from ssd.data.datasets import BACKGROUND, VOC_CLASSES
from ssd.modeling.detector import build_detection_model
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.utils.image import write_image
from ssd.weights.foreign import network_differences
from ssd.weights.initial_model import build_new_model
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from ssd.weights.trained import own_config, read_detector
from tests.weights.formats import peers
from tests.weights.formats.caffemodel import caffemodel

CONFIGS = Path(__file__).parents[2] / "configs"
OWN = "interop/qfgaohao_mb3_small_ssd_lite_voc"

Convert = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of another project: random weights under its names."""
    path = tmp_path_factory.mktemp("foreign") / "mb3-small-ssd-lite.pth"
    torch.save(peers.fill_faster(peers.read_shapes("qfgaohao_mb3-small-ssd-lite_voc")), path)
    return path


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str]) -> Convert:
    """Run the command; return its exit status and what it writes to standard output and error."""

    def run(*args: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in args])
        return (status, *capsys.readouterr())

    return run


def test_a_checkpoint_and_its_config(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "mb3.pth"
    status, out, _ = convert(foreign, "-o", output)
    assert (status, "20 classes (aeroplane, bicycle, bird and 17 more), 3000 priors" in out) == (0, True)
    assert f"Written: {output}, {output.with_suffix('.yaml')}" in out
    checkpoint = read_checkpoint(output)
    assert checkpoint["class_names"] == [BACKGROUND, *VOC_CLASSES]
    cfg = load_config(output.with_suffix(".yaml"))
    assert str(output) == cfg.MODEL.WEIGHTS
    assert cfg.MODEL.WEIGHTS_CLASSES == VOC_CLASSES
    assert cfg.INPUT.PIXEL_STD == load_config(shipped_config(OWN)).INPUT.PIXEL_STD
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    (found,) = ssd.init_detector(foreign).predict([image], score_threshold=0.01)
    (again,) = ssd.init_detector(output.with_suffix(".yaml"), output).predict([image], score_threshold=0.01)
    assert len(found) > 0
    np.testing.assert_array_equal(again.boxes, found.boxes)
    np.testing.assert_array_equal(again.scores, found.scores)


def test_names_of_classes_and_what_is_written_as_input(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    names = [f"thing {index}" for index in range(20)]
    assert convert(foreign, "-o", first, "--classes", ", ".join(names))[0] == 0
    status, _, err = convert(foreign, "-o", second, "--classes", "cat, dog")
    assert (status, "has 20 classes, but 2 names are given: cat, dog" in err) == (1, True)
    assert not second.exists()
    for options, expected in (((), names), (("--classes", ",".join(VOC_CLASSES)), list(VOC_CLASSES))):
        status, out, _ = convert(first, "-o", second, *options)  # the second time it replaces its own files
        assert (status, "this library" in out) == (0, True)
        assert read_checkpoint(second)["class_names"][1:] == expected
    one, other = (read_checkpoint(path)["model"] for path in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{foreign}", "-o", "x.onnx"], "--output x.onnx must end in .pth"),
        (["{foreign}", "-o", "{foreign}"], "is the file to convert"),
        (["{foreign}", "-o", "x.pth", "--from", "nvidia"], "is not of NVIDIA's"),
        (["{foreign}", "-o", "x.pth", "--from", "darknet"], "'darknet'"),
        (["{foreign}", "-o", "x.pth", "--config-file", "y.yaml"], "--config-file goes with --to"),
        (["{foreign}", "-o", "x.pth", "--to", "lufficc", "--images", "a"], "--images goes without --to"),
        (["{foreign}", "-o", "x.pth", "--to", "lufficc", "--classes", "a"], "--classes goes without --to"),
        (["{foreign}", "-o", "x.pth", "--images", "a"], "no batch norm of"),
        (["{foreign}", "-o", "x.pth", "--to", "lufficc"], "cannot be written for lufficc/SSD"),
        (["{foreign}", "-o", "x.pth", "--classes", "a,b,a"], "--classes 'a,b,a': names must differ"),
        (["{foreign}", "-o", "x.pth", "--classes", "a,b,"], "none may be empty"),
        (["configs", "-o", "x.pth"], "configs is a folder"),
        (["nothing.pth", "-o", "x.pth"], "'nothing.pth' does not exist"),
        (["README.md", "-o", "x.pth"], "or not a checkpoint"),
        (["{foreign}", "-o", "own.pth"], "own.yaml exists"),
        (["{foreign}", "-o", "README.md/a.pth"], "README.md: cannot be written"),
    ],
)
def test_mistakes(args, message, convert, foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("README.md", "own.yaml"):
        (tmp_path / name).write_text("text")
    (tmp_path / "configs").mkdir()
    status, _, err = convert(*(arg.format(foreign=foreign) for arg in args))
    assert (status, message in err) == (1, True), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "configs", "own.yaml"]
    assert (tmp_path / "own.yaml").read_text() == "text"


def test_folded_batch_norms_get_the_statistics_of_images(convert: Convert, tmp_path: Path) -> None:
    source, output = tmp_path / "net.caffemodel", tmp_path / "net.pth"
    source.write_bytes(caffemodel(peers.fill_faster(peers.read_shapes("ultralight-caffe_rfb_320_face"))))
    status, out, _ = convert(source, "-o", output)
    assert (status, "35 batch norms are folded" in out) == (0, True)
    write_image(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), tmp_path / "a.png")
    status, out, _ = convert(source, "-o", output, "--images", tmp_path)
    assert (status, "35 batch norms were folded" in out) == (0, True)
    assert read_checkpoint(output)["model"]["backbone.features.0.1.running_mean"].all()


@pytest.fixture(scope="session")
def of_lufficc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as lufficc/SSD leaves it: random weights of three classes that it does not name."""
    cfg = load_config(shipped_config("mobilenet_v2_ssd320_voc0712"), ["MODEL.NUM_CLASSES", 3])
    model = build_detection_model(cfg, pretrained=False)
    path = tmp_path_factory.mktemp("lufficc") / "model_final.pth"
    torch.save({"model": model.state_dict(), "iteration": 7}, path)
    return path


def test_to_and_from_lufficc(convert, of_lufficc, tmp_path, capsys):
    ours, theirs = tmp_path / "ours.pth", tmp_path / "theirs.pth"
    status, out, _ = convert(of_lufficc, "-o", ours, "--classes", "cat,dog")
    assert (status, "lufficc/SSD\n" in out) == (0, True)
    assert "2 classes (cat, dog)" in out
    assert "Note: The priors are taken for those of mobilenet_v2_ssd320_voc0712; see MODEL.PRIORS." in out
    status, out, _ = convert(ours, "-o", theirs, "--to", "lufficc")
    assert (status, f"Written for lufficc/SSD: {theirs}\n" in out) == (0, True)
    (difference,) = re.findall("There differs: (.*)", out)
    for text in ('MODEL.NUM_CLASSES "3"', 'MODEL.BACKBONE.NAME "mobilenet_v2"', 'INPUT.IMAGE_SIZE "320"'):
        assert text in difference
    written, read = torch.load(theirs), torch.load(of_lufficc)
    assert list(written) == ["model"]
    assert list(written["model"]) == list(read["model"])
    assert all(torch.equal(value, written["model"][name]) for name, value in read["model"].items())
    cfg = own_config(read_detector(str(of_lufficc)))
    assert f"{of_lufficc}: The priors are taken for" in capsys.readouterr().out
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.NUM_CLASSES) == ("mobilenet_v2", 3)
    with pytest.raises(ConfigError, match=r"does not name its 2 classes; .*MODEL\.WEIGHTS_CLASSES"):
        ssd.init_detector(of_lufficc)


def test_training_on_other_classes(foreign, scenes, script, tmp_path):
    """One step of the whole network, at its own size, whose checkpoint detects."""
    shapes = {"FORMAT": "voc", "ROOT": str(scenes), "SPLIT": "trainval"}
    overrides = [
        *("MODEL.NUM_CLASSES", 0, "MODEL.WEIGHTS", foreign, "MODEL.WEIGHTS_CLASSES", ["circle", *VOC_CLASSES[1:]]),
        *("DATASETS.CUSTOM.shapes", shapes, "DATASETS.TRAIN", ["shapes"], "DATASETS.TEST", ["shapes"]),
        *("DATA_LOADER.NUM_WORKERS", 0, "SOLVER.MAX_ITER", 1, "SOLVER.LR_STEPS", [], "SOLVER.BATCH_SIZE", 2),
        *("SOLVER.LR", 1e-5, "OUTPUT_DIR", tmp_path),
    ]
    options = ("--config-file", CONFIGS / f"{OWN}.yaml", "--skip-test", "--eval_step", 0)
    status, _, err = script("train.py", *options, *overrides)
    assert status == 0, err
    log = (tmp_path / "log.txt").read_text()
    assert f"Converted {foreign} from mb3-small-ssd-lite" in log
    assert "trained otherwise" not in log
    assert re.search(r"Classes that keep their weights: circle$", log, re.MULTILINE)
    assert "Classes that are left out: bicycle, bird" in log
    trained = read_checkpoint(tmp_path / "model_final.pth")
    names = trained["class_names"]
    bias = trained["model"]["box_head.predictor.cls_headers.5.bias"].view(-1, len(names))
    before = torch.load(foreign, weights_only=True)["classification_headers.5.bias"].view(-1, 21)
    torch.testing.assert_close(bias[:, [0, names.index("circle")]], before[:, :2], rtol=0, atol=1e-3)
    assert ssd.init_detector(tmp_path / "model_final.pth").class_names == tuple(names)


def test_the_config_of_the_network_is_named_where_another_does_not_fit(foreign: Path) -> None:
    cfg = load_config(shipped_config(OWN), ["MODEL.WEIGHTS", str(foreign), "MODEL.BACKBONE.NAME", "mobilenet_v1"])
    with pytest.raises(CheckpointError, match=rf"configs/{OWN}\.yaml"):
        build_new_model(cfg, (BACKGROUND, *VOC_CLASSES))


def test_other_settings_warn_in_training(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    overrides = ["MODEL.WEIGHTS", str(foreign), "INPUT.PIXEL_STD", [1, 1, 1]]
    build_new_model(load_config(shipped_config(OWN), overrides), (BACKGROUND, *VOC_CLASSES))
    assert "trained otherwise: INPUT.PIXEL_STD is [1, 1, 1], there [128" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["INPUT.PIXEL_MEAN", [0, 0, 0]], r"INPUT\.PIXEL_MEAN is \[0, 0, 0\], there \[127"),
        (["INPUT.IMAGE_SIZE", 320], r"INPUT\.IMAGE_SIZE is \[320, 320\], there \[300, 300\]"),
        (["MODEL.BACKBONE.NAME", "mobilenet_v2"], r"MODEL\.BACKBONE\.NAME is mobilenet_v2, there"),
        (["MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 6], r"gives 2000 other priors than the 3000 there: MIN_SIZES \[60"),
        (["MODEL.PRIORS.CLIP", False], r"gives 3000 other priors than the 3000 there"),
    ],
)
def test_other_settings_are_refused_in_detection(overrides: list[Any], message: str, foreign: Path) -> None:
    cfg = load_config(shipped_config(OWN), overrides)
    with pytest.raises(ConfigError, match=rf"mb3-small-ssd-lite\.pth .* {message}"):
        ssd.init_detector(cfg, foreign)


def test_a_config_of_ones_own_that_means_the_same(foreign: Path) -> None:
    checkpoint = read_detector(str(foreign))
    strides = [16, 32, 64, 100, 150, 300]
    overrides = ["INPUT.IMAGE_SIZE", (300, 300), "MODEL.PRIORS.STRIDES", strides]
    assert network_differences(load_config(shipped_config(OWN), overrides), checkpoint) == []
    assert network_differences(load_config(), LoadedCheckpoint({}, "x")) == []


def test_a_file_of_no_known_format(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth has no known format: .* fc\.weight"):
        read_detector(str(tmp_path / "x.pth"))
