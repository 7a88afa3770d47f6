"""The classes of a checkpoint: the user's word, then the file's, then a guess with a warning; in all commands alike."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import ssd
from ssd.cli import main
from ssd.commands import export
from ssd.config import load_config
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.initial_model import build_new_model
from ssd.weights.loaded_checkpoint import LoadedCheckpoint, known_class_names, trained_class_names

SHAPES = ("circle", "crescent", "cross", "heart", "ring", "square", "star", "triangle")  # of the scenes
OWN = tuple(f"thing {number}" for number in range(20))
IMAGE = Path(__file__).parents[2] / "demo" / "scene_1.jpg"
HEADERS = ("box_head.predictor.cls_headers.0.bias", "box_head.predictor.reg_headers.0.bias")


def checkpoint(num_classes: int, names: Sequence[str] | None = None, source: str = "a.pth") -> LoadedCheckpoint:
    """A detector's headers of two priors."""
    weights = {HEADERS[0]: torch.zeros(2 * num_classes), HEADERS[1]: torch.zeros(2 * 4)}
    return LoadedCheckpoint(weights, source, class_names=None if names is None else (BACKGROUND, *names))


@pytest.mark.parametrize(
    ("overrides", "given", "in_file", "expected"),
    [
        ([], (), ("a", "b"), ("a", "b")),
        (["MODEL.WEIGHTS_CLASSES", ["c", "d"]], (), None, ("c", "d")),
        (["MODEL.WEIGHTS_CLASSES", ["c", "d"]], (), ("a", "b"), ("c", "d")),
        (["MODEL.WEIGHTS_CLASSES", ["c", "d"], "MODEL.WEIGHTS", "./a.pth"], (), ("a", "b"), ("c", "d")),
        # They are of the file that a training started from; what it saved names its own.
        (["MODEL.WEIGHTS_CLASSES", ["c", "d"], "MODEL.WEIGHTS", "old.pth"], (), ("a", "b"), ("a", "b")),
        (["MODEL.WEIGHTS_CLASSES", ["c", "d"], "MODEL.WEIGHTS", "old.pth"], (), None, ("c", "d")),
        (["MODEL.WEIGHTS_CLASSES", ["c", "d"], "MODEL.WEIGHTS", "old.pth"], ("e", "f"), ("a", "b"), ("e", "f")),
    ],
)
def test_the_user_goes_before_the_file(overrides, given, in_file, expected) -> None:
    cfg = load_config(None, overrides)
    assert known_class_names(cfg, checkpoint(3, in_file), given) == (BACKGROUND, *expected)
    assert trained_class_names(cfg, checkpoint(3, in_file), given) == (BACKGROUND, *expected)


@pytest.mark.parametrize("names", [VOC_CLASSES, COCO_CLASSES], ids=["VOC", "COCO"])
def test_a_guess_is_a_warning(names, request, caplog) -> None:
    cfg = load_config(None, ["MODEL.WEIGHTS_CLASSES", OWN])
    assert trained_class_names(cfg, checkpoint(21)) == (BACKGROUND, *OWN)
    assert trained_class_names(load_config(None), checkpoint(21, OWN)) == (BACKGROUND, *OWN)
    assert caplog.messages == []
    nameless = checkpoint(len(names) + 1)
    assert known_class_names(load_config(None), nameless) is None
    assert trained_class_names(load_config(None), nameless) == (BACKGROUND, *names)
    (record,) = caplog.records
    assert (record.levelno, request.node.callspec.id in record.getMessage()) == (logging.WARNING, True)


def test_as_many_as_the_data_have(caplog) -> None:
    cfg = load_config(None)
    assert trained_class_names(cfg, checkpoint(3), of_data=(BACKGROUND, "a", "b")) == (BACKGROUND, "a", "b")
    assert "a.pth does not name its 2 classes" in caplog.text
    with pytest.raises(ConfigError, match=r"a\.pth .* 2 classes; set MODEL\.WEIGHTS_CLASSES"):
        trained_class_names(cfg, checkpoint(3), of_data=(BACKGROUND, "a"))
    own_head = LoadedCheckpoint({}, "own.pth")
    assert trained_class_names(cfg, own_head, of_data=(BACKGROUND, "a")) == (BACKGROUND, "a")


@pytest.mark.parametrize("role", ["TRAIN", "TEST"])
def test_20_own_names_go_before_a_guess_of_voc(role, caplog) -> None:
    """They are CLASSES of a dataset in the config, or of the data that were opened."""
    sets = ["DATASETS.CUSTOM", {"mine": {"FORMAT": "yolo", "ROOT": "mine", "CLASSES": list(OWN)}, "a": {"ROOT": "a"}}]
    cfg = load_config(None, [*sets, f"DATASETS.{role}", ["a", "mine"]])
    assert trained_class_names(cfg, checkpoint(21)) == (BACKGROUND, *OWN)
    assert trained_class_names(load_config(None), checkpoint(21), of_data=(BACKGROUND, *OWN)) == (BACKGROUND, *OWN)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert trained_class_names(load_config(None, sets), checkpoint(21)) == (BACKGROUND, *VOC_CLASSES)  # a set of no run
    assert trained_class_names(cfg, checkpoint(21, VOC_CLASSES)) == (BACKGROUND, *VOC_CLASSES)
    assert trained_class_names(cfg, checkpoint(81)) == (BACKGROUND, *COCO_CLASSES)


def test_voc_in_another_order_is_voc() -> None:
    names = trained_class_names(load_config(None), checkpoint(21), of_data=(BACKGROUND, *sorted(VOC_CLASSES)[::-1]))
    assert names == (BACKGROUND, *VOC_CLASSES)


def test_another_number_of_names() -> None:
    with pytest.raises(ConfigError, match=r"a\.pth has 20 classes, but 2 names are given: cat, dog\."):
        known_class_names(load_config(None), checkpoint(21), ("cat", "dog"))
    with pytest.raises(ConfigError, match=r"a\.pth has 20 classes, but 1 names are given: cat\."):
        trained_class_names(load_config(None), checkpoint(21, ("cat",)))


@pytest.mark.parametrize(
    "weights",
    [
        {"box_head.mine.weight": torch.ones(9)},
        {HEADERS[0]: torch.ones(8)},
        {HEADERS[0]: torch.ones(8), HEADERS[1]: torch.ones(0)},
        {HEADERS[0]: torch.ones(8), HEADERS[1]: torch.ones(3)},
        {HEADERS[0]: torch.ones(9), HEADERS[1]: torch.ones(8)},
        {HEADERS[0]: torch.ones(()), HEADERS[1]: torch.ones(())},
    ],
    ids=["none", "no offsets", "empty", "three offsets", "no whole number", "scalars"],
)
def test_weights_of_no_detector(weights) -> None:
    assert LoadedCheckpoint(weights, "own.pth").num_classes is None
    with pytest.raises(CheckpointError, match=r"own\.pth names no classes"):
        trained_class_names(load_config(None), LoadedCheckpoint(weights, "own.pth"))
    mine = LoadedCheckpoint(weights, "own.pth", class_names=(BACKGROUND, "cat"))  # a head of the user's own
    assert trained_class_names(load_config(None), mine) == (BACKGROUND, "cat")


@pytest.fixture
def nameless(detector_file: Path, tmp_path: Path) -> Path:
    """A checkpoint with its config, and 20 classes that it does not name."""
    state = torch.load(detector_file)
    for name, tensor in state["model"].items():
        if "cls_headers" in name:  # 4 priors of 4 classes to 4 priors of 21
            state["model"][name] = tensor.unflatten(0, (4, 4))[:, [0, *[1] * 20]].flatten(0, 1)
    config = state["config"].replace("NUM_CLASSES: 4", "NUM_CLASSES: 21")
    torch.save({"model": state["model"], "config": config}, tmp_path / "nameless.pth")
    return tmp_path / "nameless.pth"


def test_every_way_takes_the_users_names(nameless, config_file, tmp_path, script) -> None:
    """`ssd convert` is tested in tests/commands."""
    names = [*SHAPES, *OWN[len(SHAPES) :]]
    overrides = ["MODEL.WEIGHTS_CLASSES", names]
    run = ("demo.py", "--ckpt", nameless, "--source", IMAGE, "--no_draw", "--save_txt", tmp_path / "txt")
    assert script(*run, *overrides)[0] == 0
    assert (tmp_path / "txt" / "classes.txt").read_text().splitlines() == names

    run = ("test.py", "--config-file", config_file, "--ckpt", nameless, "MODEL.NUM_CLASSES", 21)
    assert script(*run, *overrides)[0] == 0  # a dataset of some of these classes
    status, output, error = script(*run)
    assert (status, "does not name its 20 classes" in output, "unknown class" in error) == (1, True, True)

    cfg = load_config(config_file, [*overrides, "MODEL.NUM_CLASSES", 21])
    assert ssd.init_detector(cfg, nameless).class_names == (BACKGROUND, *names)
    cfg = cfg.with_overrides(["MODEL.WEIGHTS", str(nameless), "MODEL.NUM_CLASSES", 2])
    model = build_new_model(cfg, (BACKGROUND, SHAPES[1]))
    trained = torch.load(nameless)["model"]["box_head.predictor.cls_headers.0.bias"]
    found = model.box_head.predictor.cls_headers[0].bias
    assert torch.equal(found.view(-1, 2), trained.view(-1, 21)[:, [0, 2]])


def test_commands_take_the_users_names(nameless, tmp_path) -> None:
    for command, file, options in (("explain", "explain.html", []), ("predict", "_job/job.json", ["--opts"])):
        output = tmp_path / command
        args = [command, IMAGE, "--ckpt", nameless, "-o", output, *options, "MODEL.WEIGHTS_CLASSES", OWN]
        assert main([str(arg) for arg in args]) == 0
        assert "thing 1" in (output / file).read_text()
    args = ["--ckpt", str(nameless), "-o", "model.onnx", "MODEL.WEIGHTS_CLASSES", str(OWN)]
    _, trained, _ = export.load(export.parse_args(args))
    assert tuple(trained.metadata.class_names)[-20:] == OWN
