"""The numbers of an explanation are those of the loss and of the detector."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

import ssd
from ssd.data import make_batch_transform
from ssd.inference.predictor import Predictor
from ssd.modeling.box_head.loss import sum_under_masks
from ssd.structures import Container
from ssd.structures.boxes import corner_to_center
from ssd.tools.explain.candidates import BEYOND_LIMIT, FATES, KEPT, NOT_AMONG_BEST, SUPPRESSED
from ssd.tools.explain.explain import explain
from ssd.tools.explain.explanation import Explanation
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
    ],
)
def test_detections_are_those_of_the_detector(overrides: list[object]) -> None:
    detector = make_detector(*overrides)
    expected = detector(make_image())
    found = explain(detector, make_image()).candidates
    rows = found.detections
    assert len(rows) == len(expected) > 5
    assert np.array_equal(found.labels[rows], expected.labels)
    assert np.array_equal(found.scores[rows], expected.scores)
    np.testing.assert_allclose(found.boxes[rows].numpy() * SCALE, expected.boxes, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    "overrides", [[], ["TEST.MAX_PER_CLASS", 3], ["TEST.PRE_NMS_TOP_K", 20], ["TEST.MAX_PER_IMAGE", 7]]
)
def test_fates_by_hand(overrides: list[object]) -> None:
    """Greedy NMS written out, candidate by candidate."""
    limits = {"TEST.MAX_PER_CLASS": 10**9, "TEST.PRE_NMS_TOP_K": 10**9, "TEST.MAX_PER_IMAGE": 100}
    limits |= dict(zip(overrides[::2], overrides[1::2], strict=True))  # type: ignore[arg-type]
    found = explain(make_detector(*overrides), make_image()).candidates
    iou = box_iou(found.boxes.double(), found.boxes.double())
    survivors: dict[int, list[int]] = {1: [], 2: [], 3: []}
    seen, num_kept = {1: 0, 2: 0, 3: 0}, 0
    for row, label in enumerate(found.labels.tolist()):
        own = survivors[label]
        seen[label] += 1
        over = [other for other in own if iou[row, other] > found.nms_threshold]
        if seen[label] > limits["TEST.PRE_NMS_TOP_K"]:
            fate = NOT_AMONG_BEST
        elif over:
            fate = SUPPRESSED
        else:
            own.append(row)
            is_within = len(own) <= limits["TEST.MAX_PER_CLASS"] and num_kept < limits["TEST.MAX_PER_IMAGE"]
            fate = KEPT if is_within else BEYOND_LIMIT
            num_kept += is_within
        assert FATES[found.fates[row]] == fate
        assert found.suppressors[row] == (over[0] if fate == SUPPRESSED else -1)
    assert found.count(SUPPRESSED) > 1
    assert (found.scores > found.score_threshold).all()


def predict(detector: Predictor, explanation: Explanation) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's own logits and offsets (1, P, C), (1, P, 4), in the explanation's image."""
    network = detector.network.network  # type: ignore[attr-defined]
    pixels = torch.from_numpy(explanation.image).permute(2, 0, 1)[None]
    with torch.no_grad():
        return network.box_head.predictor(network.backbone(make_batch_transform(make_model()[1], False)(pixels)))


def test_masks_and_losses_are_those_of_the_training(detector: Predictor, explanation: Explanation) -> None:
    """A prior is in the loss exactly if the loss has a gradient there."""
    head = detector.network.network.box_head  # type: ignore[attr-defined]
    cls_logits, bbox_pred = (tensor.requires_grad_() for tensor in predict(detector, explanation))
    boxes = torch.from_numpy(BOXES / [WIDTH, HEIGHT, WIDTH, HEIGHT]).float()[None]
    labels, targets = head.assign_targets(Container(boxes=boxes, labels=torch.from_numpy(LABELS)[None]), head.priors)
    reg_loss, cls_loss = sum_under_masks(cls_logits, bbox_pred, labels, targets, neg_pos_ratio=3)
    (reg_loss + cls_loss).backward()
    matching = explanation.matching
    assert matching is not None
    assert torch.equal(matching.prior_labels, labels[0])
    assert torch.equal(matching.bbox_targets, targets[0])
    is_in_cls_loss = cls_logits.grad[0].abs().sum(dim=1) > 0
    is_in_reg_loss = bbox_pred.grad[0].abs().sum(dim=1) > 0
    assert torch.equal(matching.pos_mask | matching.neg_mask, is_in_cls_loss)
    assert torch.equal(matching.pos_mask, is_in_reg_loss)
    num_pos = int(matching.pos_mask.sum())
    assert matching.neg_mask.sum() == 3 * num_pos
    assert matching.losses["cls_loss"] == pytest.approx(cls_loss.item() / num_pos, rel=1e-5)
    assert matching.losses["reg_loss"] == pytest.approx(reg_loss.item() / num_pos, rel=1e-5)
    assert torch.equal(explanation.class_scores, cls_logits.detach()[0].softmax(dim=1))


def test_matches(explanation: Explanation) -> None:
    matching = explanation.matching
    assert matching is not None
    np.testing.assert_allclose(matching.boxes.numpy() * SCALE, BOXES, rtol=1e-5)
    iou = box_iou(matching.boxes, explanation.priors)
    torch.testing.assert_close(matching.iou, iou.gather(0, matching.gt_index[None])[0], rtol=1e-4, atol=1e-5)
    reaches = iou.amax(dim=0) >= 0.5
    assert torch.equal(matching.pos_mask & ~matching.is_forced, reaches)
    assert not (matching.is_forced & reaches).any()
    priors = [matching.priors_of(gt) for gt in range(4)]
    assert sum(map(len, priors)) == matching.pos_mask.sum()
    assert matching.is_forced[priors[2]].tolist() == [True]  # three pixels wide
    assert iou[2].argmax() == priors[2]
    for own in priors:
        assert (matching.iou[own].diff() <= 0).all()


def test_negatives_are_ranked_by_their_loss(explanation: Explanation) -> None:
    matching = explanation.matching
    assert matching is not None
    is_background = ~matching.pos_mask
    assert (matching.neg_rank[matching.pos_mask] == 0).all()
    assert matching.neg_rank[is_background].sort().values.tolist() == list(range(1, int(is_background.sum()) + 1))
    order = matching.neg_rank[is_background].argsort()
    assert (matching.cls_loss[is_background][order].diff() <= 0).all()
    num_neg = int(matching.neg_mask.sum())
    assert torch.equal(matching.neg_mask, (matching.neg_rank > 0) & (matching.neg_rank <= num_neg))
    torch.testing.assert_close(matching.cls_loss[is_background], -explanation.class_scores[is_background, 0].log())


def test_a_detection_by_hand(explanation: Explanation) -> None:
    """The box from prior and offsets (variances 0.1 and 0.2), the scores, and the neighbours."""
    traces = [explanation.trace(number) for number in range(100)]
    assert sum(len(trace.suppressed) > 0 for trace in traces) > 5
    for trace in traces:
        x, y, width, height = corner_to_center(trace.prior_box).double().tolist()
        dx, dy, dw, dh = trace.offsets.double().tolist()
        x, y = x + 0.1 * dx * width, y + 0.1 * dy * height
        width, height = width * np.exp(0.2 * dw), height * np.exp(0.2 * dh)
        expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        np.testing.assert_allclose(trace.box, expected, rtol=1e-4, atol=1e-3)
        assert trace.class_scores.sum().item() == pytest.approx(1, abs=1e-5)
        assert trace.score == trace.class_scores[trace.label]
        assert (explanation.candidates.suppressors[trace.suppressed] == trace.candidate).all()
        assert (trace.suppressed_iou > explanation.candidates.nms_threshold).all()
        assert trace.rival_iou[trace.rivals == trace.candidate].item() == pytest.approx(1)
        iou = box_iou(trace.box[None], explanation.matching.boxes)[0]  # type: ignore[union-attr]
        assert trace.best_gt == (int(iou.argmax()) if iou.max() > 0 else None)
    assert [trace.number for trace in traces] == list(range(100))
    assert traces[0].score == explanation.class_scores[:, 1:].max()


@pytest.mark.parametrize("centers", ["stride", "map"])
def test_every_prior_has_its_place(centers: str) -> None:
    explanation = explain(make_detector("MODEL.PRIORS.CENTERS", centers, "MODEL.PRIORS.CLIP", False), make_image())
    assert [level.feature_map for level in explanation.levels] == [(8, 12), (4, 6), (2, 3), (1, 2)]
    assert [len(level.shapes) for level in explanation.levels] == [4, 6, 4, 4]
    assert sum(level.num_priors for level in explanation.levels) == len(explanation.priors)
    for prior, (x, y, width, height) in enumerate(corner_to_center(explanation.priors).tolist()):
        number, row, column, shape = explanation.place(prior)
        level = explanation.levels[number - 1]
        step_y, step_x = level.stride
        assert (x, y) == pytest.approx(((column + 0.5) * step_x, (row + 0.5) * step_y), abs=1e-3)
        assert (width, height) == pytest.approx(level.shapes[shape], abs=1e-3)


def test_without_objects(detector: Predictor) -> None:
    """Known to have none is not the same as unknown."""
    unknown, none = explain(detector, make_image()), explain(detector, make_image(), [], [])
    assert unknown.matching is None
    assert [(it.trace(0).best_gt, it.trace(0).best_gt_iou) for it in (unknown, none)] == [(None, 0.0)] * 2
    matching = none.matching
    assert matching is not None
    assert (int(matching.pos_mask.sum()), int(matching.neg_mask.sum())) == (0, 3)
    assert matching.losses["reg_loss"] == 0


def test_objects_are_those_that_training_sees(detector: Predictor) -> None:
    """Clipped, without those whose centre lies outside; named or numbered."""
    boxes = [[-20, 0, 40, 50], [-90, 0, 10, 50], [30, 40, 90, 100]]
    matching = explain(detector, make_image(), boxes, ["dog", 1, "snow leopard"]).matching
    assert matching is not None
    assert matching.labels.tolist() == [2, 3]
    np.testing.assert_allclose(matching.boxes.numpy() * SCALE, [[0, 0, 40, 50], [30, 40, 90, 100]], rtol=1e-5)


def test_mistakes(detector: Predictor, explanation: Explanation) -> None:
    image = make_image()
    with pytest.raises(ConfigError, match=r"got \(4, 4\) and \(0,\)"):
        explain(detector, image, BOXES)
    with pytest.raises(ConfigError, match="'lynx' is no class of the detector, which are 1 cat, 2 dog"):
        explain(detector, image, BOXES[:1], ["lynx"])
    with pytest.raises(ConfigError, match="0 is no class"):
        explain(detector, image, BOXES[:1], [0])
    with pytest.raises(ImageError, match="one can be explained at a time"):
        explain(detector, [image, image])
    with pytest.raises(ConfigError, match="detection 1000 of image: 100 score above"):
        explanation.trace(1000)
    exported = Predictor(lambda images: [], (64, 96), CLASS_NAMES)
    with pytest.raises(ConfigError, match="function tells detections only"):
        explain(exported, image)
    other = make_detector()
    other.network.network.box_head = nn.Identity()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"MODEL\.BOX_HEAD\.NAME gives Identity; what can be explained is SSDBoxHead"):
        explain(other, image)


def test_public_name() -> None:
    assert ssd.explain is explain
