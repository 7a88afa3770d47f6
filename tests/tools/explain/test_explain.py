import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

import ssd
from ssd.data import make_batch_transform
from ssd.inference.predictor import Predictor
from ssd.modeling.anchors import BoxCoder
from ssd.modeling.box_head import Predictions
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, corner_to_center
from ssd.tools.explain.explain import Explanation, explain
from ssd.utils.errors import ConfigError, ImageError
from tests.tools.explain.small import BOXES, CLASS_NAMES, HEIGHT, LABELS, WIDTH, make_detector, make_image, make_model

SCALE = np.array([WIDTH / 96, HEIGHT / 64] * 2)


@pytest.fixture(scope="module")
def detector() -> Predictor:
    return make_detector()


@pytest.fixture(scope="module")
def explanation(detector: Predictor) -> Explanation:
    return explain(detector, make_image(), BOXES, LABELS)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["TEST.MAX_PER_CLASS", 3],
        ["TEST.PRE_NMS_TOP_K", 20],
        ["TEST.MAX_PER_IMAGE", 7],
        ["TEST.MAX_PER_IMAGE", -1, "TEST.CLIP_BOXES", True],
        ["TEST.AMP", "bf16", "MODEL.PRIORS.CENTERS", "map"],
        ["MODEL.BOX_HEAD.SCORES", "sigmoid"],
    ],
)
def test_detections_are_those_of_the_detector(overrides: list[object]) -> None:
    detector = make_detector(*overrides)
    (expected,) = detector.predict(make_image(), score_threshold=0.0)
    found = explain(detector, make_image()).candidates
    rows = found.detections
    assert len(rows) == len(expected) > 5
    assert np.array_equal(found.labels[rows], expected.labels)
    assert np.array_equal(found.scores[rows], expected.scores)
    np.testing.assert_allclose(found.boxes[rows].numpy() * SCALE, expected.boxes, rtol=1e-5, atol=1e-3)
    assert (found.scores > found.score_threshold).all()
    assert (found.scores.diff() <= 0).all()


@pytest.mark.parametrize("overrides", [[], ["TEST.PRE_NMS_TOP_K", 20], ["TEST.MAX_PER_IMAGE", 7]])
def test_suppressors(overrides: list[object]) -> None:
    """The first detection of the class that overlaps too much; without limits every dropped candidate has one."""
    found = explain(make_detector(*overrides), make_image()).candidates
    iou = box_iou(found.boxes.double(), found.boxes.double())
    for row, label in enumerate(found.labels.tolist()):
        others = [other for other in found.detections.tolist() if found.labels[other] == label and other != row]
        over = [other for other in others if iou[row, other] > found.nms_threshold]
        assert found.suppressors[row] == (over[0] if over else -1)
        if over:
            assert not found.is_kept[row]
            assert over[0] < row
            assert row in found.suppressed_by(over[0])
    assert (found.suppressors >= 0).any()
    if not overrides:
        before_last = torch.arange(len(found.priors)) < found.detections[-1]
        assert torch.equal(found.is_kept[before_last], found.suppressors[before_last] < 0)


def test_boxes_of_other_classes_suppress_where_they_compete() -> None:
    found = explain(make_detector("TEST.CLASS_AGNOSTIC_NMS", True), make_image()).candidates
    iou = box_iou(found.boxes.double(), found.boxes.double())
    is_dropped = found.suppressors >= 0
    assert (iou[is_dropped, found.suppressors[is_dropped]] > found.nms_threshold).all()
    assert (found.labels[is_dropped] != found.labels[found.suppressors[is_dropped]]).any()
    with pytest.raises(ConfigError, match=r"SOFT_NMS"):
        explain(make_detector("TEST.SOFT_NMS", 0.5), make_image())


def test_masks_and_losses_are_those_of_the_training(detector: Predictor, explanation: Explanation) -> None:
    """A prior is in the loss exactly if the loss has a gradient there."""
    network = detector.network.network
    pixels = torch.from_numpy(explanation.image).permute(2, 0, 1)[None]
    with torch.no_grad():
        outputs = network.predict(make_batch_transform(make_model()[1], False)(pixels))
    predictions = Predictions(*(output.requires_grad_() for output in outputs))
    boxes = torch.from_numpy(BOXES / [WIDTH, HEIGHT, WIDTH, HEIGHT]).float()[None]
    targets = Container(boxes=boxes, labels=torch.from_numpy(LABELS)[None])
    losses = network.box_head.losses(predictions, targets).normalized()
    sum(losses.values()).backward()
    matching = explanation.matching
    is_in_cls_loss = predictions.cls_logits.grad[0].abs().sum(dim=1) > 0
    is_in_reg_loss = predictions.bbox_pred.grad[0].abs().sum(dim=1) > 0
    assert torch.equal(matching.pos_mask | matching.neg_mask, is_in_cls_loss)
    assert torch.equal(matching.pos_mask, is_in_reg_loss)
    assert sorted(matching.negatives.tolist()) == matching.neg_mask.nonzero().flatten().tolist()
    assert len(matching.negatives) == 3 * matching.pos_mask.sum()
    assert (matching.cls_loss[matching.negatives].diff() <= 0).all()
    assert matching.losses == pytest.approx({name: loss.item() for name, loss in losses.items()}, rel=1e-5)
    scores = predictions.cls_logits.detach()[0].softmax(dim=1)
    torch.testing.assert_close(explanation.class_scores, scores, rtol=1e-5, atol=1e-6)
    is_background = ~matching.pos_mask
    torch.testing.assert_close(matching.cls_loss[is_background], -scores[is_background, 0].log())


def test_sigmoid_scores_and_ignored_priors() -> None:
    overrides = ["MODEL.BOX_HEAD.SCORES", "sigmoid", "MODEL.BOX_HEAD.CLS_LOSS", "focal", "MODEL.IGNORE_THRESHOLD", 0.3]
    found = explain(make_detector(*overrides), make_image(), BOXES, LABELS)
    torch.testing.assert_close(found.class_scores[:, 0], (1 - found.class_scores[:, 1:]).prod(dim=1))
    labels = found.matching.prior_labels
    assert torch.equal(labels == -1, (found.matching.iou >= 0.3) & (labels <= 0))
    assert (labels == -1).any()
    assert torch.equal(found.matching.neg_mask, labels == 0)  # focal loss takes all of them
    num_neg = int((labels == 0).sum())
    assert f"{num_neg} of {num_neg} negatives" in str(found)
    assert set(found.draw()) == {"priors", "matches", "negatives", "detection"}


def test_matches(explanation: Explanation) -> None:
    matching = explanation.matching
    np.testing.assert_allclose(matching.boxes.numpy() * SCALE, BOXES, rtol=1e-5)
    iou = box_iou(matching.boxes, explanation.priors)
    torch.testing.assert_close(matching.iou, iou.gather(0, matching.gt_index[None])[0], rtol=1e-4, atol=1e-5)
    reaches = iou.amax(dim=0) >= 0.5
    assert torch.equal(matching.pos_mask & ~matching.is_forced, reaches)
    priors = [matching.priors_of(gt) for gt in range(4)]
    assert sum(map(len, priors)) == matching.pos_mask.sum()
    assert matching.is_forced[priors[2]].tolist() == [True]  # three pixels wide
    assert iou[2].argmax() == priors[2]
    assert all((matching.iou[own].diff() <= 0).all() for own in priors)


def test_boxes_and_scores_are_those_of_their_priors(explanation: Explanation) -> None:
    found, priors = explanation.candidates, corner_to_center(explanation.priors)
    boxes = center_to_corner(BoxCoder(0.1, 0.2).decode(explanation.offsets, priors))
    torch.testing.assert_close(found.boxes, boxes[found.priors], rtol=1e-4, atol=1e-3)
    assert torch.equal(found.scores, explanation.class_scores[found.priors, found.labels])


@pytest.mark.parametrize("centers", ["stride", "map"])
def test_place_of_each_prior(centers: str) -> None:
    explanation = explain(make_detector("MODEL.PRIORS.CENTERS", centers, "MODEL.PRIORS.CLIP", False), make_image())
    layout = explanation.prior_box
    assert layout.feature_maps == [(8, 12), (4, 6), (2, 3), (1, 2)]
    assert [len(priors) for priors in explanation.level_priors] == [384, 144, 24, 8]
    for prior, (x, y, width, height) in enumerate(corner_to_center(explanation.priors).tolist()):
        level, row, column, shape = explanation.place(prior)
        step_y, step_x = layout.strides[level - 1]
        assert (x, y) == pytest.approx(((column + 0.5) * step_x, (row + 0.5) * step_y), abs=1e-3)
        assert (width, height) == pytest.approx(layout.shapes[level - 1][shape], abs=1e-3)


def test_no_objects_and_unknown_objects(detector: Predictor) -> None:
    assert explain(detector, make_image()).matching is None
    matching = explain(detector, make_image(), [], []).matching
    assert (int(matching.pos_mask.sum()), int(matching.neg_mask.sum())) == (0, 3)
    assert matching.losses["reg_loss"] == 0


def test_objects_are_those_that_training_sees(detector: Predictor) -> None:
    """Clipped, without those whose centre is outside; named or numbered."""
    boxes = [[-20, 0, 40, 50], [-90, 0, 10, 50], [30, 40, 90, 100]]
    matching = explain(detector, make_image(), boxes, ["dog", 1, "snow leopard"]).matching
    assert matching.labels.tolist() == [2, 3]
    np.testing.assert_allclose(matching.boxes.numpy() * SCALE, [[0, 0, 40, 50], [30, 40, 90, 100]], rtol=1e-5)


def test_objects_in_words() -> None:
    """Every object has a prior of its own until there are more objects than priors."""
    explanation = ssd.explain(make_detector(), make_image(), [BOXES[0]] + [BOXES[2]] * 560, [2] + [1] * 560)
    assert len(explanation.priors) == 560
    words = [explanation.describe_match(gt) for gt in range(561)]
    num_priors = len(explanation.matching.priors_of(0))
    assert words[0].startswith(f"{num_priors} prior")
    assert words[1] == "forced, IoU 0.01, level 1"
    assert words.count(words[-1]) == num_priors  # none


def test_mistakes(detector: Predictor, explanation: Explanation) -> None:
    image = make_image()
    with pytest.raises(ConfigError, match=r"\(4, 4\).*\(0,\)"):
        explain(detector, image, BOXES)
    with pytest.raises(ConfigError, match=r"'lynx'.*snow leopard"):
        explain(detector, image, BOXES[:1], ["lynx"])
    with pytest.raises(ConfigError, match="0 is not a class"):
        explain(detector, image, BOXES[:1], [0])
    with pytest.raises(ImageError, match="one"):
        explain(detector, [image, image])
    with pytest.raises(ConfigError, match="detection 1000 of image: 100"):
        explanation.draw(1000)
    with pytest.raises(ConfigError, match="function"):
        explain(Predictor(lambda images: [], (64, 96), CLASS_NAMES), image)
    other = make_detector()
    other.network.network.box_head = nn.Identity()
    with pytest.raises(ConfigError, match=r"MODEL\.BOX_HEAD\.NAME.*Identity"):
        explain(other, image)
