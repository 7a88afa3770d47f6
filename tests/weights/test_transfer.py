"""Weights of a detector in one for other classes: shared classes score as before, new ones hardly at all."""

import logging
import math

import pytest
import torch
from torch import Tensor, nn

from ssd.config import load_config
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.layouts import count_classes
from ssd.weights.initial_model import load_detector_weights, match_classes, move_classes

OLD = ("__background__", "cat", "dog", "tvmonitor")
NEW = ("__background__", "zebra", "tv", "cat", "yak", "emu")  # labels 3 and 1 of OLD at 2 and 3
SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", 96),
    *("MODEL.PRIORS.MIN_SIZES", [16, 32, 48, 64], "MODEL.PRIORS.MAX_SIZES", [32, 48, 64, 96]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2, 3], [2], [2]]),
]


def build(num_classes: int, predictor: str = "SSDBoxPredictor", *overrides: object) -> nn.Module:
    cfg = load_config(
        None, [*SMALL, "MODEL.NUM_CLASSES", num_classes, "MODEL.BOX_HEAD.PREDICTOR", predictor, *overrides]
    )
    model = build_detection_model(cfg).eval()
    for name, parameter in model.named_parameters():  # biases too, so that a forgotten one shows
        if name.startswith("box_head"):
            nn.init.normal_(parameter, std=0.1)
    return model


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


@torch.no_grad()
@pytest.mark.parametrize("predictor", ["SSDBoxPredictor", "SSDLiteBoxPredictor"])
def test_shared_classes_keep_their_scores(predictor: str) -> None:
    old, new = build(len(OLD), predictor), build(len(NEW), predictor)
    load_detector_weights(new, old.state_dict(), "old.pth", trained_classes=OLD, class_names=NEW)
    images = torch.randn(2, 3, 96, 96)
    (old_logits, old_boxes), (logits, boxes) = (model.predict(images) for model in (old, new))
    assert torch.equal(boxes, old_boxes)
    torch.testing.assert_close(logits[..., [0, 2, 3]], old_logits[..., [0, 3, 1]])
    for label in (1, 4, 5):
        torch.testing.assert_close(logits[..., label], old_logits[..., 0] + math.log(0.01))


def test_the_same_classes_are_the_same_model() -> None:
    old, new = build(len(OLD)), build(len(OLD))
    load_detector_weights(new, old.state_dict(), "old.pth", trained_classes=OLD, class_names=OLD)
    for name, value in old.state_dict().items():
        assert torch.equal(new.state_dict()[name], value), name


def test_new_rows_learn_apart() -> None:
    model = build(len(NEW))
    load_detector_weights(model, build(len(OLD)).state_dict(), "old.pth", trained_classes=OLD, class_names=NEW)
    logits, _ = model.predict(torch.randn(1, 3, 96, 96))
    logits[..., 1].sum().backward()
    gradient = model.box_head.predictor.cls_headers[0].bias.grad.unflatten(0, (-1, len(NEW)))
    assert (gradient[:, 1] != 0).all()
    assert not gradient[:, [0, 2, 3, 4, 5]].any()


def test_parts_that_start_anew() -> None:
    old = build(len(OLD)).state_dict()
    new = build(len(NEW), "SSDLiteBoxPredictor")
    initial = {name: value.clone() for name, value in new.state_dict().items()}
    load_detector_weights(new, old, "old.pth", trained_classes=OLD, class_names=NEW, new=[r"box_head\."])
    for name, value in new.state_dict().items():
        assert torch.equal(value, initial[name] if name.startswith("box_head.") else old[name]), name


def other_priors(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return build(len(OLD), "SSDBoxPredictor", "MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4).state_dict()


def cut(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if "reg_headers.2" not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [(other_priors, r"reg_headers\.0\.weight 24x64x3x3, the model has 16x"), (cut, r"reg_headers\.2\.bias")],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change: object, message: str) -> None:
    model = build(len(NEW))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = change(build(len(OLD)).state_dict())  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        load_detector_weights(model, weights, "old.pth", trained_classes=OLD, class_names=NEW)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_happens_to_the_classes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load_detector_weights(
            build(len(NEW)), build(len(OLD)).state_dict(), "old.pth", trained_classes=OLD, class_names=NEW
        )
    assert "Classes that keep their weights: tv, cat" in caplog.text
    assert "Classes that are new: zebra, yak, emu" in caplog.text
    assert "Classes that are left out: dog" in caplog.text
    assert "No class has the same name there" not in caplog.text


def test_the_log_tells_when_no_name_is_the_same(caplog: pytest.LogCaptureFixture) -> None:
    trained = ("__background__", *(f"thing {number}" for number in range(30)))
    with caplog.at_level(logging.INFO):
        load_detector_weights(
            build(3), build(31).state_dict(), "old.pth", trained_classes=trained, class_names=("", "yak", "emu")
        )
    assert "No class has the same name there" in caplog.text
    assert "thing 18, thing 19 and 10 more" in caplog.text


@pytest.mark.parametrize("predictor", ["SSDBoxPredictor", "SSDLiteBoxPredictor"])
def test_the_class_count_shows_in_the_weights(predictor: str) -> None:
    model = build(7, predictor)
    assert count_classes(model.state_dict()) == 7
    with pytest.raises(CheckpointError, match=r"missing tensor: .*cls_headers\.0\.bias"):
        count_classes(model.backbone.state_dict())
