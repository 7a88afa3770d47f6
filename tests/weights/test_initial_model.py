"""The model that a training starts from: MODEL.WEIGHTS, for the same classes or others, and other weights."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.modeling.box_head.box_predictor import last_conv
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.formats.layouts import count_classes
from ssd.weights.initial_model import build_new_model, load_detector_weights, match_classes, move_classes
from tests.tiny import tiny_config

CELLS = (BACKGROUND, "red", "white")
OLD = (BACKGROUND, "cat", "dog", "tvmonitor")
NEW = (BACKGROUND, "zebra", "tv", "cat", "yak", "emu")  # labels 3 and 1 of OLD at 2 and 3


def config(num_classes: int, *overrides: object) -> Config:
    return tiny_config("MODEL.NUM_CLASSES", num_classes, *overrides)


def write(path: Path, num_classes: int, **values: object) -> nn.Module:
    """Write a checkpoint of random weights, bare unless there are other values; return its model."""
    torch.manual_seed(1)
    model = build_detection_model(config(num_classes))
    torch.save({"model": model.state_dict(), **values} if values else model.state_dict(), path)
    return model


def cls_rows(model: nn.Module, num_classes: int) -> torch.Tensor:
    return model.box_head.predictor.cls_headers[0].weight.unflatten(0, (-1, num_classes))


def test_a_checkpoint_with_class_names(tmp_path) -> None:
    old = write(tmp_path / "old.pth", 4, class_names=[BACKGROUND, "white", "blue", "red"], iteration=7)
    new = build_new_model(config(3, "MODEL.WEIGHTS", str(tmp_path / "old.pth")), CELLS)
    assert torch.equal(cls_rows(new, 3), cls_rows(old, 4)[:, [0, 3, 1]])
    assert torch.equal(new.backbone.stages[0][0][0].weight, old.backbone.stages[0][0][0].weight)


@pytest.mark.parametrize(
    ("classes", "names", "rows"),
    [
        (VOC_CLASSES, (BACKGROUND, "dog", "sofa"), [0, 12, 18]),
        (COCO_CLASSES, (BACKGROUND, "dog", "sofa"), [0, 17, 58]),  # COCO says couch
    ],
)
def test_published_weights_do_not_name_their_classes(tmp_path, classes, names, rows) -> None:
    count = len(classes) + 1
    old = write(tmp_path / "old.pth", count)
    new = build_new_model(config(3, "MODEL.WEIGHTS", str(tmp_path / "old.pth")), names)
    assert torch.equal(cls_rows(new, 3), cls_rows(old, count)[:, rows])


def test_mistakes(tmp_path) -> None:
    path, backbone = str(tmp_path / "old.pth"), write(tmp_path / "old.pth", 4).backbone.state_dict()
    other = {"model": {"box_head.mine.weight": torch.ones(9)}}
    for content, fact in ((backbone, r"MODEL\.BACKBONE\.PRETRAINED"), (other, r"old\.pth holds no detector")):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=fact):
            build_new_model(config(3, "MODEL.WEIGHTS", path), CELLS)
    with pytest.raises(CheckpointError, match=r"missing\.pth"):
        build_new_model(config(3, "MODEL.WEIGHTS", "missing.pth"), CELLS)
    with pytest.raises(ConfigError, match=r"FREEZE_STAGES would keep random weights"):
        build_new_model(config(3, "MODEL.BACKBONE.FREEZE_STAGES", 1), CELLS)


def test_weights_take_the_place_of_pretrained_ones(tmp_path) -> None:
    old = write(tmp_path / "old.pth", 3)
    overrides = ["MODEL.WEIGHTS", str(tmp_path / "old.pth"), "MODEL.BACKBONE.PRETRAINED", "missing.pth"]  # not read
    new = build_new_model(config(3, *overrides, "MODEL.BACKBONE.FREEZE_STAGES", 1), CELLS)
    found, expected = (model.backbone.stages[0][0][0].weight for model in (new, old))
    assert torch.equal(found, expected)
    assert not found.requires_grad


def build(num_classes: int, predictor: str = "SSDBoxPredictor", *overrides: object) -> SSDDetector:
    model = build_detection_model(config(num_classes, "MODEL.BOX_HEAD.PREDICTOR", predictor, *overrides)).eval()
    for name, parameter in model.named_parameters():  # biases too, so that a forgotten one shows
        if name.startswith("box_head"):
            nn.init.normal_(parameter, std=0.1)
    return model


def load(model: nn.Module, weights: dict[str, Tensor], **options: Any) -> None:
    load_detector_weights(model, weights, "old.pth", **{"trained_classes": OLD, "class_names": NEW, **options})


def test_a_row_a_prior_and_class_by_hand() -> None:
    # Two priors, three classes: rows 0 to 2 belong to the first prior, 3 to 5 to the second.
    moved = move_classes(torch.arange(6.0), [0, None, 2], num_trained=3)
    new = math.log(0.01)
    assert moved.tolist() == pytest.approx([0, 0 + new, 2, 3, 3 + new, 5])
    weights = move_classes(torch.arange(6.0).reshape(6, 1, 1, 1), [0, None, 2], num_trained=3)
    assert weights.flatten().tolist() == [0, 0, 2, 3, 3, 5]


def test_names_match_beyond_spelling() -> None:
    trained = ["__background__", "Dining Table", "aeroplane", "cat", "sofa"]
    names = ["__background__", "airplane", "couch", "diningtable", "dog", "CAT"]
    assert match_classes(trained, names) == [0, 2, 4, 1, None, 3]
    assert match_classes(["__background__", "猫"], ["__background__", "猫", "犬"]) == [0, 1, None]


@pytest.mark.parametrize("predictor", ["SSDBoxPredictor", "SSDLiteBoxPredictor"])
def test_shared_classes_keep_their_scores_and_new_ones_learn_apart(predictor) -> None:
    old, new = build(len(OLD), predictor), build(len(NEW), predictor)
    assert count_classes(old.state_dict()) == len(OLD)
    load(new, old.state_dict())
    images = torch.randn(2, 3, 96, 96)
    (old_logits, old_boxes), (logits, boxes) = (model.predict(images) for model in (old, new))
    assert torch.equal(boxes, old_boxes)
    torch.testing.assert_close(logits[..., [0, 2, 3]], old_logits[..., [0, 3, 1]])
    for label in (1, 4, 5):
        torch.testing.assert_close(logits[..., label], old_logits[..., 0] + math.log(0.01))
    logits[..., 1].sum().backward()
    gradient = last_conv(new.box_head.predictor.cls_headers[0])[1].bias.grad.unflatten(0, (-1, len(NEW)))
    assert (gradient[:, 1] != 0).all()
    assert not gradient[:, [0, 2, 3, 4, 5]].any()


@pytest.mark.parametrize("functions", [("softmax", "sigmoid"), ("sigmoid", "sigmoid"), ("sigmoid", "softmax")], ids=str)
def test_scores_of_another_function(tmp_path, functions) -> None:
    """Odds of a class against the background stay: sigmoid is a softmax of one class and a background of logit 0."""
    settings = [config(count, "MODEL.BOX_HEAD.SCORES", name) for count, name in zip((4, 6), functions, strict=True)]
    old = build(4, "SSDBoxPredictor", "MODEL.BOX_HEAD.SCORES", functions[0])
    content = {"model": old.state_dict(), "class_names": list(OLD), "config": settings[0].dump()}
    torch.save(content, tmp_path / "old.pth")
    new = build_new_model(settings[1].with_overrides(["MODEL.WEIGHTS", str(tmp_path / "old.pth")]), NEW).eval()
    images = torch.randn(1, 3, 96, 96)
    old_logits, logits = (model.predict(images).cls_logits for model in (old, new))
    background = old_logits[..., :1] if functions[0] == "softmax" else 0
    torch.testing.assert_close(logits[..., [2, 3]], (old_logits - background)[..., [3, 1]], rtol=1e-4, atol=1e-5)
    for label in (1, 4, 5):  # new classes
        torch.testing.assert_close(logits[..., label], torch.full_like(logits[..., label], math.log(0.01)))
    assert not logits[..., 0].any()


def test_parts_with_new_weights_and_the_same_classes() -> None:
    old, same, new = build(len(OLD)).state_dict(), build(len(OLD)), build(len(NEW), "SSDLiteBoxPredictor")
    load(same, old, class_names=OLD)
    for name, value in same.state_dict().items():
        assert torch.equal(value, old[name]), name
    initial = {name: value.clone() for name, value in new.state_dict().items()}
    load(new, old, new=[r"box_head\."])
    for name, value in new.state_dict().items():
        assert torch.equal(value, initial[name] if name.startswith("box_head.") else old[name]), name


def test_weights_that_do_not_fit_are_named_and_change_nothing() -> None:
    model, weights = build(len(NEW)), build(len(OLD)).state_dict()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other_priors = build(len(OLD), "SSDBoxPredictor", "MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4).state_dict()
    cut = {name: value for name, value in weights.items() if "reg_headers.2" not in name}
    for content, fact in ((other_priors, r"reg_headers\.0\.weight 24x64x3x3"), (cut, r"reg_headers\.2\.bias")):
        with pytest.raises(CheckpointError, match=fact):
            load(model, content)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match=r"cls_headers\.0\.bias"):
        count_classes(model.backbone.state_dict())


def test_kept_new_and_dropped_classes_are_logged(caplog) -> None:
    caplog.set_level(logging.INFO)
    load(build(len(NEW)), build(len(OLD)).state_dict())
    for names in ("tv, cat", "zebra, yak, emu", "dog"):
        assert f": {names}" in caplog.text
    assert "No class has the same name" not in caplog.text
    trained = (BACKGROUND, *(f"thing {number}" for number in range(30)))
    load(build(3), build(31).state_dict(), trained_classes=trained, class_names=("", "yak", "emu"))
    assert "No class has the same name" in caplog.text
    assert "thing 18, thing 19 and 10 more" in caplog.text
