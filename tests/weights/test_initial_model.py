"""What a training starts from: MODEL.WEIGHTS of various origins, pretrained and random weights."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from ssd.config import Config, load_config
from ssd.data.datasets import BACKGROUND, COCO_CLASSES, VOC_CLASSES
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.initial_model import build_new_model

SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", 96),
    *("MODEL.PRIORS.MIN_SIZES", [16, 32, 48, 64], "MODEL.PRIORS.MAX_SIZES", [32, 48, 64, 96]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
]
CELLS = (BACKGROUND, "red", "white")


def config(num_classes: int, *overrides: object) -> Config:
    return load_config(None, [*SMALL, "MODEL.NUM_CLASSES", num_classes, *overrides])


def write(path: Path, num_classes: int, **values: object) -> nn.Module:
    """Write a checkpoint of random weights, bare unless there are other values; return its model."""
    torch.manual_seed(1)
    model = build_detection_model(config(num_classes))
    torch.save({"model": model.state_dict(), **values} if values else model.state_dict(), path)
    return model


def cls_rows(model: nn.Module, num_classes: int) -> torch.Tensor:
    return model.box_head.predictor.cls_headers[0].weight.unflatten(0, (-1, num_classes))


def test_a_checkpoint_with_class_names(tmp_path: Path) -> None:
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
def test_published_weights_do_not_name_their_classes(
    tmp_path: Path, classes: tuple[str, ...], names: tuple[str, ...], rows: list[int]
) -> None:
    count = len(classes) + 1
    old = write(tmp_path / "old.pth", count)
    new = build_new_model(config(3, "MODEL.WEIGHTS", str(tmp_path / "old.pth")), names)
    assert torch.equal(cls_rows(new, 3), cls_rows(old, count)[:, rows])


def test_names_given_by_the_user_go_first(tmp_path: Path) -> None:
    old = write(tmp_path / "old.pth", 3, class_names=[BACKGROUND, "a", "b"])
    overrides = ["MODEL.WEIGHTS", str(tmp_path / "old.pth"), "MODEL.WEIGHTS_CLASSES", ["white", "red"]]
    new = build_new_model(config(3, *overrides), CELLS)
    assert torch.equal(cls_rows(new, 3), cls_rows(old, 3)[:, [0, 2, 1]])


def test_as_many_classes_without_names_are_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = write(tmp_path / "old.pth", 3)
    with caplog.at_level(logging.WARNING):
        new = build_new_model(config(3, "MODEL.WEIGHTS", str(tmp_path / "old.pth")), CELLS)
    assert torch.equal(cls_rows(new, 3), cls_rows(old, 3))
    assert "does not name its 2 classes: taken for those of the training" in caplog.text


def test_parts_that_start_anew(tmp_path: Path) -> None:
    write(tmp_path / "old.pth", 3)
    overrides = ["MODEL.WEIGHTS", str(tmp_path / "old.pth"), "MODEL.WEIGHTS_EXCLUDE", ["box_head"]]
    torch.manual_seed(2)
    new = build_new_model(config(3, *overrides, "MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4), CELLS)
    torch.manual_seed(2)
    fresh = build_detection_model(config(3, "MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4))
    assert torch.equal(cls_rows(new, 3), cls_rows(fresh, 3))
    assert not torch.equal(new.backbone.stages[0][0][0].weight, fresh.backbone.stages[0][0][0].weight)


def test_mistakes(tmp_path: Path) -> None:
    path = str(tmp_path / "old.pth")
    old = write(tmp_path / "old.pth", 4)
    with pytest.raises(ConfigError, match=r"does not name its 3 classes; set MODEL\.WEIGHTS_CLASSES"):
        build_new_model(config(3, "MODEL.WEIGHTS", path), CELLS)
    with pytest.raises(ConfigError, match=r"WEIGHTS_CLASSES has 2 names, but .*old\.pth 3 classes"):
        build_new_model(config(3, "MODEL.WEIGHTS", path, "MODEL.WEIGHTS_CLASSES", ["a", "b"]), CELLS)
    torch.save(old.backbone.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"weights of a backbone alone go to MODEL\.BACKBONE\.PRETRAINED"):
        build_new_model(config(3, "MODEL.WEIGHTS", path), CELLS)
    torch.save({"model": {"box_head.mine.weight": torch.ones(9)}}, path)
    with pytest.raises(
        CheckpointError, match=r"old\.pth holds no detector, which MODEL\.WEIGHTS takes; the weights of"
    ):
        build_new_model(config(3, "MODEL.WEIGHTS", path), CELLS)
    with pytest.raises(CheckpointError, match=r"missing\.pth"):
        build_new_model(config(3, "MODEL.WEIGHTS", "missing.pth"), CELLS)
    with pytest.raises(ConfigError, match=r"FREEZE_STAGES would keep random weights"):
        build_new_model(config(3, "MODEL.BACKBONE.FREEZE_STAGES", 1), CELLS)


def test_weights_take_the_place_of_pretrained_ones(tmp_path: Path) -> None:
    """The backbone's own file is not even looked for."""
    old = write(tmp_path / "old.pth", 3)
    overrides = ["MODEL.WEIGHTS", str(tmp_path / "old.pth"), "MODEL.BACKBONE.PRETRAINED", "missing.pth"]
    new = build_new_model(config(3, *overrides, "MODEL.BACKBONE.FREEZE_STAGES", 1), CELLS)
    assert torch.equal(new.backbone.stages[0][0][0].weight, old.backbone.stages[0][0][0].weight)
    assert not new.backbone.stages[0][0][0].weight.requires_grad
