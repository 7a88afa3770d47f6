"""Detections: recorded results, the batch against plain loops, candidates in portions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from ssd.modeling.anchors import BoxCoder
from ssd.modeling.box_head import PostProcessor, post_processor
from ssd.modeling.box_head.box_predictor import class_scores
from ssd.structures import Container
from ssd.structures.boxes import best_candidates, center_to_corner, class_wise_nms, rank_in_class


def detect(inputs, image_size=(300, 300), **options: float) -> list[Container]:
    """Detect by logits (B, P, C), offsets (B, P, 4) and priors (P, 4)."""
    cls_logits, bbox_pred, priors = inputs
    processor = PostProcessor(image_size, **{"score_threshold": 0.01, "nms_threshold": 0.45, **options})
    return processor(class_scores(cls_logits, "softmax"), center_to_corner(BoxCoder().decode(bbox_pred, priors)))


def plain_nms(boxes: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    """Greedy class-wise NMS, one box at a time."""
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        rivals = [k for k in kept if labels[k] == labels[index]]
        if not rivals or box_iou(boxes[index : index + 1], boxes[rivals]).max() <= iou_threshold:
            kept.append(index)
    return kept


def test_classes_never_collide() -> None:
    # Boxes far left of the image: with an offset of label * (largest coordinate + 1), as lufficc/SSD has it, class 1
    # would land on class 0.
    boxes = torch.tensor([[-200.0, 0.0, -100.0, 50.0], [-301.0, 0.0, -201.0, 50.0], [0.0, 0.0, 100.0, 50.0]])
    assert class_wise_nms(boxes, torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.8, 0.7]), 0.45).tolist() == [0, 1, 2]


def predictions(num_priors: int, num_classes: int, seed: int = 0, num_images: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cls_logits = torch.randn(num_images, num_priors, num_classes, generator=generator) * 2
    bbox_pred = torch.randn(num_images, num_priors, 4, generator=generator)
    priors = torch.rand(num_priors, 4, generator=generator) * 0.4 + 0.1
    return cls_logits, bbox_pred, priors


def plain_detections(cls_logits: Tensor, bbox_pred: Tensor, priors: Tensor, limit: int) -> tuple[Tensor, ...]:
    """Boxes, labels and scores of one image: (P, C) and (P, 4), by sorting and looping over all candidates."""
    scores = cls_logits.softmax(dim=1)[:, 1:]
    prior, label = (scores > 0.01).nonzero().unbind(1)
    boxes = center_to_corner(BoxCoder().decode(bbox_pred, priors))[prior] * 300
    keep = plain_nms(boxes, label, scores[prior, label], 0.45)[:limit]
    return boxes[keep], label[keep] + 1, scores[prior, label][keep]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.sampled_from([1, 3, 30, 1000]), st.integers(1, 60))
def test_batch_equals_plain_loops(seed, num_classes, first, limit) -> None:
    cls_logits, bbox_pred, priors = predictions(40, num_classes, seed, num_images=3)
    cls_logits[1, :, 0] += 4  # few candidates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(post_processor, "FIRST_CANDIDATES", first)
        patch.setattr(post_processor, "CPU_CANDIDATES", 2 * first)  # two images at once, then the third
        detections = detect((cls_logits, bbox_pred, priors), max_per_image=limit)
    for image, result in enumerate(detections):
        expected = plain_detections(cls_logits[image], bbox_pred[image], priors, limit)
        for field, values in zip(("boxes", "labels", "scores"), expected, strict=True):
            torch.testing.assert_close(result[field], values)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([1, 2, 9, 40, 10**9]), st.sampled_from([2, 10**6]))
def test_best_candidates_equal_a_sort(seed, num_classes, count, num_values) -> None:
    generator = torch.Generator().manual_seed(seed)
    all_scores = torch.randint(0, num_values, (3, 12, num_classes), generator=generator) / num_values
    scores, priors, labels = best_candidates(all_scores, count)
    assert torch.equal(scores, all_scores.flatten(1).sort(dim=1, descending=True).values[:, :count])
    for image in range(3):  # of equal scores any, but each pair once
        pairs = list(zip(priors[image].tolist(), labels[image].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert torch.equal(all_scores[image, priors[image], labels[image] - 1], scores[image])


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1e38])
def test_wild_boxes_of_one_image_do_not_change_another(wild) -> None:
    inputs = predictions(400, 6)
    _, expected = detect(inputs)
    inputs[1][0, :50] = wild
    _, result = detect(inputs)
    for field in ("boxes", "labels", "scores"):
        assert torch.equal(result[field], expected[field])


def test_limits_per_class_and_image() -> None:
    assert detect(predictions(40, 3, num_images=0)) == []
    assert rank_in_class(torch.tensor([4, 2, 4, 4, 2])).tolist() == [0, 0, 1, 2, 1]
    inputs = predictions(400, 6)
    (unlimited, _) = detect(inputs, max_per_image=-1)
    (limited, _) = detect(inputs, max_per_class=3, max_per_image=12)
    labels = unlimited["labels"]
    expected = [index for index in range(len(labels)) if (labels[:index] == labels[index]).sum() < 3][:12]
    assert torch.equal(limited["scores"], unlimited["scores"][expected])
    assert limited["labels"].bincount().max() == 3


def test_threshold_is_strict_and_nothing_may_be_left() -> None:
    cls_logits = torch.zeros(1, 3, 2)  # every score is exactly 0.5
    (detections,) = detect((cls_logits, torch.zeros(1, 3, 4), torch.full((3, 4), 0.5)), score_threshold=0.5)
    assert detections["boxes"].shape == (0, 4)
    assert detections["labels"].shape == detections["scores"].shape == (0,)
    assert (detections.img_width, detections.img_height) == (300, 300)


@pytest.mark.parametrize("first", [5, 1000])
def test_top_candidates_of_a_class_before_nms(first, monkeypatch) -> None:
    cls_logits, bbox_pred, priors = predictions(400, 6)
    monkeypatch.setattr(post_processor, "FIRST_CANDIDATES", first)
    detections = detect((cls_logits, bbox_pred, priors), pre_nms_top_k=20)
    for image, result in enumerate(detections):
        logits = cls_logits[image]
        scores = logits.softmax(dim=1)[:, 1:]
        weak = scores < scores.topk(20, dim=0).values[-1]
        # What does not go in is made as improbable as can be; the scores of the others must stay as they are.
        scores = scores.masked_fill(weak, 0)
        rest = torch.cat([1 - scores.sum(dim=1, keepdim=True), scores], dim=1).log()
        boxes, labels, kept = plain_detections(rest, bbox_pred[image], priors, 100)
        torch.testing.assert_close(result["boxes"], boxes)
        torch.testing.assert_close(result["scores"], kept)
        assert torch.equal(result["labels"], labels)


@pytest.mark.parametrize("clip", [False, True])
def test_boxes_are_clipped_before_nms(clip) -> None:
    # Inside the image both are 10 pixels wide and the same; as a whole they share little.
    priors = torch.tensor([[-0.45, 0.5, 1.0, 0.2], [0.0, 0.5, 0.1, 0.2]])
    cls_logits = torch.tensor([[[0.0, 5.0], [0.0, 4.0]]])
    (detections,) = detect((cls_logits, torch.zeros(1, 2, 4), priors), (200, 200), clip=clip)
    assert len(detections["boxes"]) == (1 if clip else 2)
    inputs = cls_logits[:, :1], torch.zeros(1, 1, 4), torch.tensor([[0.1, 0.5, 0.4, 0.6]])
    (detections,) = detect(inputs, (100, 200), clip=clip)
    expected = [0.0 if clip else -20.0, 20.0, 60.0, 80.0]  # x times 200, y times 100
    torch.testing.assert_close(detections["boxes"], torch.tensor([expected]))
    assert (detections.img_width, detections.img_height) == (200, 100)


def test_golden(goldens) -> None:
    golden = np.load(goldens / "lufficc" / "post_processor_ssd300.npz")
    priors = torch.from_numpy(np.load(goldens / "lufficc" / "priors_vgg_ssd300_voc0712.npz")["priors"])
    cls_logits = torch.from_numpy(golden["logits"].astype(np.float32))
    bbox_pred = torch.from_numpy(golden["locations"].astype(np.float32))
    detections = detect((cls_logits, bbox_pred, priors))
    for image, result in enumerate(detections):
        np.testing.assert_array_equal(result["labels"], golden[f"labels_{image}"])
        np.testing.assert_allclose(result["scores"], golden[f"scores_{image}"], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(result["boxes"], golden[f"boxes_{image}"], rtol=1e-5, atol=1e-3)
        resized = result.resize((500, 375))
        np.testing.assert_allclose(resized["boxes"], golden[f"boxes_resized_500x375_{image}"], rtol=1e-5, atol=1e-3)
        assert (resized.img_width, resized.img_height) == (500, 375)
        assert (result.img_width, result.img_height) == (300, 300)
