"""`ssd convert` as a user runs it, and foreign files in the place of our own: mb3-small, the smallest of them."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssd
from ssd.commands.convert import main
from ssd.config import Config, load_config
from ssd.config.files import shipped_config
from ssd.data.datasets import BACKGROUND, VOC_CLASSES
from ssd.modeling.detector import build_detection_model
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.foreign import network_differences
from ssd.weights.initial_model import build_new_model
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from ssd.weights.trained import own_config, read_detector
from tests.weights.formats import peers

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
    assert status == 0
    assert "20 classes (aeroplane, bicycle, bird, ...), 3000 priors" in out
    assert f"Written: {output}, {output.with_suffix('.yaml')}" in out
    checkpoint = read_checkpoint(output)
    assert checkpoint["class_names"] == [BACKGROUND, *VOC_CLASSES]
    cfg = load_config(output.with_suffix(".yaml"))
    assert str(output) == cfg.MODEL.WEIGHTS
    assert cfg.MODEL.WEIGHTS_CLASSES == VOC_CLASSES
    assert cfg.INPUT.PIXEL_STD == load_config(shipped_config(OWN)).INPUT.PIXEL_STD

    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    (found,) = ssd.init_detector(output).predict([image], score_threshold=0.01)
    assert len(found) > 0
    for detector in (ssd.init_detector(foreign), ssd.init_detector(output.with_suffix(".yaml"), output)):
        (again,) = detector.predict([image], score_threshold=0.01)
        np.testing.assert_array_equal(again.boxes, found.boxes)
        np.testing.assert_array_equal(again.scores, found.scores)


def test_what_is_written_can_be_converted_again(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    convert(foreign, "-o", tmp_path / "a.pth")
    status, out, _ = convert(tmp_path / "a.pth", "-o", tmp_path / "b.pth")
    assert (status, "this library" in out) == (0, True)
    one, other = (read_checkpoint(tmp_path / name)["model"] for name in ("a.pth", "b.pth"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_names_of_classes(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    names = [f"thing {index}" for index in range(20)]
    assert convert(foreign, "-o", tmp_path / "a.pth", "--classes", ", ".join(names))[0] == 0
    assert read_checkpoint(tmp_path / "a.pth")["class_names"][1:] == names
    status, _, err = convert(foreign, "-o", tmp_path / "b.pth", "--classes", "cat, dog")
    assert (status, "has 20 classes, but 2 names are given: cat, dog" in err) == (1, True)
    assert not (tmp_path / "b.pth").exists()
    assert convert(tmp_path / "a.pth", "-o", tmp_path / "b.pth", "--classes", ",".join(VOC_CLASSES))[0] == 0
    assert read_checkpoint(tmp_path / "b.pth")["class_names"][1:] == list(VOC_CLASSES)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{foreign}", "-o", "x.onnx"], "--output x.onnx must end in .pth"),
        (["{foreign}", "-o", "{foreign}"], "is the file to convert"),
        (["{foreign}", "-o", "x.pth", "--from", "nvidia"], "is not of NVIDIA's"),
        (["{foreign}", "-o", "x.pth", "--from", "darknet"], "'darknet'"),
        (["{foreign}", "-o", "x.pth", "--config-file", "y.yaml"], "--config-file goes with --to"),
        (["{foreign}", "-o", "x.pth", "--to", "lufficc"], "cannot be written for lufficc/SSD"),
        (["{foreign}", "-o", "x.pth", "--from", "torchvison"], "did you mean torchvision?"),
        (["{foreign}", "-o", "x.pth", "--classes", "a,b,a"], "--classes 'a,b,a': names must differ"),
        (["{foreign}", "-o", "x.pth", "--classes", "a,b,"], "none may be empty"),
        (["configs", "-o", "x.pth"], "configs is a folder"),
        (["nothing.pth", "-o", "x.pth"], "'nothing.pth' does not exist"),
        (["README.md", "-o", "x.pth"], "or not a checkpoint"),
    ],
)
def test_mistakes(
    args: list[str], message: str, convert: Convert, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "configs").mkdir()
    status, _, err = convert(*(arg.format(foreign=foreign) for arg in args))
    assert (status, message in err) == (1, True), err


@pytest.fixture(scope="session")
def of_lufficc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as lufficc/SSD leaves it: random weights of three classes that it does not name."""
    cfg = load_config(shipped_config("mobilenet_v2_ssd320_voc0712"), ["MODEL.NUM_CLASSES", 3])
    model = build_detection_model(cfg, pretrained=False)
    path = tmp_path_factory.mktemp("lufficc") / "model_final.pth"
    torch.save({"model": model.state_dict(), "iteration": 7}, path)
    return path


def test_to_and_from_lufficc(convert: Convert, of_lufficc: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.pth", tmp_path / "theirs.pth"
    status, out, _ = convert(of_lufficc, "-o", ours, "--classes", "cat,dog")
    assert status == 0
    assert "lufficc/SSD\n" in out
    assert "2 classes (cat, dog)" in out
    assert "Note: The priors are taken for those of mobilenet_v2_ssd320_voc0712; see MODEL.PRIORS." in out
    status, out, _ = convert(ours, "-o", theirs, "--to", "lufficc")
    assert status == 0
    assert f"Written for lufficc/SSD: {theirs}\n" in out
    (difference,) = re.findall("There differs: (.*)", out)
    for text in ('MODEL.NUM_CLASSES "3"', 'MODEL.BACKBONE.NAME "mobilenet_v2"', 'INPUT.IMAGE_SIZE "320"'):
        assert text in difference
    written, read = torch.load(theirs), torch.load(of_lufficc)
    assert list(written) == ["model"]
    assert list(written["model"]) == list(read["model"])
    assert all(torch.equal(value, written["model"][name]) for name, value in read["model"].items())


def test_a_file_of_lufficc_brings_its_config(of_lufficc: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cfg = own_config(read_detector(str(of_lufficc)))
    assert caplog.messages == [
        f"{of_lufficc}: The priors are taken for those of mobilenet_v2_ssd320_voc0712; see MODEL.PRIORS."
    ]
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.NUM_CLASSES) == ("mobilenet_v2", 3)
    with pytest.raises(ConfigError, match=r"does not name its 2 classes; .*MODEL\.WEIGHTS_CLASSES"):
        ssd.init_detector(of_lufficc)


def test_a_config_that_somebody_wrote_is_not_overwritten(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text("MODEL: {NUM_CLASSES: 3}\n")
    status, _, err = convert(foreign, "-o", tmp_path / "shop.pth")
    assert (status, f"error: {config} exists" in err) == (1, True), err
    assert config.read_text() == "MODEL: {NUM_CLASSES: 3}\n"
    assert not (tmp_path / "shop.pth").exists()


def test_the_same_command_twice(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    assert convert(foreign, "-o", tmp_path / "a.pth")[0] == 0
    assert convert(foreign, "-o", tmp_path / "a.pth")[0] == 0
    status, _, err = convert("gone.pth", "-o", tmp_path / "a.pth")
    assert (status, "'gone.pth' does not exist" in err) == (1, True), err


def test_where_nothing_can_be_written(convert: Convert, foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.pth").mkdir()
    status, _, err = convert(foreign, "-o", tmp_path / "file" / "a.pth")
    assert (status, f"error: {tmp_path / 'file'}: cannot be written" in err) == (1, True), err
    status, _, err = convert(foreign, "-o", tmp_path / "folder.pth")
    assert (status, "folder.pth is a folder" in err) == (1, True), err


@pytest.mark.parametrize(
    ("removed", "named"),
    [("extras.0.conv1.weight", "extras.0"), ("regression_headers.0.", "box_head.predictor.reg_headers.0.")],
)
def test_damaged_files(removed: str, named: str, convert: Convert, foreign: Path, tmp_path: Path) -> None:
    weights = torch.load(foreign, weights_only=True)
    torch.save({name: value for name, value in weights.items() if removed not in name}, tmp_path / "gap.pth")
    status, _, err = convert(tmp_path / "gap.pth", "-o", tmp_path / "x.pth")
    assert status == 1
    for text in ("gap.pth", "recognised as mb3-small-ssd-lite", named):
        assert text in err
    assert not (tmp_path / "x.pth").exists()


class TestAsOurOwn:
    """MODEL.WEIGHTS and checkpoints to detect with."""

    def test_start_of_a_training_on_other_classes(self, foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
        cfg = load_config(shipped_config(OWN), ["MODEL.WEIGHTS", str(foreign), "MODEL.NUM_CLASSES", 3])
        names = (BACKGROUND, "dog", "platelet")
        with caplog.at_level(logging.INFO):
            model = build_new_model(cfg, names)
        (bias, expected) = (
            weights["box_head.predictor.cls_headers.5.bias"]
            for weights in (model.state_dict(), read_detector(str(foreign)).weights)
        )
        assert torch.equal(bias.view(-1, 3)[:, :2], expected.view(-1, 21)[:, [0, 12]])
        assert "Classes that keep their weights: dog" in caplog.text
        assert "trained otherwise" not in caplog.text

    def test_training_on_other_classes_by_config_alone(
        self, foreign: Path, scenes: Path, script: Callable[..., tuple[int, str, str]], tmp_path: Path
    ) -> None:
        """One step of the whole network, at its own size, and what it saves detects."""
        config = tmp_path / "shapes.yaml"
        config.write_text(f"""\
_BASE_: {CONFIGS}/{OWN}.yaml
MODEL:
  NUM_CLASSES: 0
  WEIGHTS: {foreign}
  WEIGHTS_CLASSES: [circle, {", ".join(VOC_CLASSES[1:])}]
DATASETS:
  CUSTOM:
    shapes: {{FORMAT: voc, ROOT: {scenes}, SPLIT: trainval}}
  TRAIN: ["shapes"]
  TEST: ["shapes"]
DATA_LOADER: {{NUM_WORKERS: 0}}
SOLVER: {{MAX_ITER: 1, LR_STEPS: [], BATCH_SIZE: 2, LR: 1.0e-5}}
OUTPUT_DIR: {tmp_path / "out"}
""")
        status, _, err = script("train.py", "--config-file", config, "--skip-test", "--eval_step", 0)
        assert status == 0, err
        log = (tmp_path / "out" / "log.txt").read_text()
        assert f"Converted {foreign} from mb3-small-ssd-lite" in log
        assert re.search(r"Classes that keep their weights: circle$", log, re.MULTILINE)
        assert "Classes that are left out: bicycle, bird" in log
        trained = read_checkpoint(tmp_path / "out" / "model_final.pth")
        names = trained["class_names"]
        bias = trained["model"]["box_head.predictor.cls_headers.5.bias"].view(-1, len(names))
        before = torch.load(foreign, weights_only=True)["classification_headers.5.bias"].view(-1, 21)
        columns = [0, names.index("circle")]
        torch.testing.assert_close(bias[:, columns], before[:, :2], rtol=0, atol=1e-3)
        assert ssd.init_detector(tmp_path / "out" / "model_final.pth").class_names == tuple(names)

    def test_the_config_of_the_network_is_named_where_another_does_not_fit(self, foreign: Path) -> None:
        cfg = load_config(shipped_config(OWN), ["MODEL.WEIGHTS", str(foreign), "MODEL.BACKBONE.NAME", "mobilenet_v1"])
        with pytest.raises(CheckpointError, match=rf"configs/{OWN}\.yaml"):
            build_new_model(cfg, (BACKGROUND, *VOC_CLASSES))

    def test_other_settings_warn_in_training(self, foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
        overrides = ["MODEL.WEIGHTS", str(foreign), "INPUT.PIXEL_STD", [1, 1, 1]]
        build_new_model(load_config(shipped_config(OWN), overrides), (BACKGROUND, *VOC_CLASSES))
        assert "trained otherwise: INPUT.PIXEL_STD is [1, 1, 1], there [128" in caplog.text

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["INPUT.PIXEL_MEAN", [0, 0, 0]], r"INPUT\.PIXEL_MEAN is \[0, 0, 0\], there \[127"),
            (["INPUT.IMAGE_SIZE", 320], r"INPUT\.IMAGE_SIZE is \[320, 320\], there \[300, 300\]"),
            (["MODEL.BACKBONE.NAME", "mobilenet_v2"], r"MODEL\.BACKBONE\.NAME is mobilenet_v2, there"),
            (["MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 6], r"MODEL\.PRIORS gives 2000 priors, there 3000"),
            (["MODEL.PRIORS.CLIP", False], r"puts \d+ priors elsewhere, by up to [\d.]+ pixels; there MIN_SIZES \[60"),
        ],
    )
    def test_other_settings_are_refused_in_detection(self, overrides: list[Any], message: str, foreign: Path) -> None:
        cfg = load_config(shipped_config(OWN), overrides)
        with pytest.raises(ConfigError, match=rf"mb3-small-ssd-lite\.pth .* {message}"):
            ssd.init_detector(cfg, foreign)

    def test_a_config_of_ones_own_that_means_the_same(self, foreign: Path) -> None:
        checkpoint = read_detector(str(foreign))
        strides = [16, 32, 64, 100, 150, 300]
        cfg: Config = load_config(
            shipped_config(OWN), ["INPUT.IMAGE_SIZE", (300, 300), "MODEL.PRIORS.STRIDES", strides]
        )
        assert network_differences(cfg, checkpoint) == []

    def test_ours_have_no_differences(self, foreign: Path) -> None:
        assert network_differences(load_config(), LoadedCheckpoint({}, "x")) == []


def test_a_shipped_config_that_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"configs/interop/nothing\.yaml is missing"):
        shipped_config("interop/nothing")


def test_a_file_of_no_known_format(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth has no known format: .* fc\.weight"):
        read_detector(str(tmp_path / "x.pth"))
