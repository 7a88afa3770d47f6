"""NMS for exported graphs: against plain loops, and both ways to run it against each other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim
from torchvision.ops import box_iou

from ssd.deploy.nms_op import onnx_translations, suppress, suppress_best


def plain(boxes: Tensor, scores: Tensor, score_threshold: float, nms_threshold: float, max_per_class: int) -> Tensor:
    """Greedy NMS of each class of each image, one box at a time."""
    kept = torch.full_like(scores, -1)
    for image, label in np.ndindex(*scores.shape[:2]):
        stay: list[int] = []
        for prior in scores[image, label].argsort(descending=True, stable=True).tolist():
            if scores[image, label, prior] <= score_threshold or len(stay) == max_per_class:
                break
            if not stay or box_iou(boxes[image, [prior]], boxes[image, stay]).max() <= nms_threshold:
                stay.append(prior)
        kept[image, label, stay] = scores[image, label, stay]
    return kept


def random_inputs(seed: int, num_images: int = 2, num_classes: int = 3, num_priors: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(num_images, num_priors, 2, 2, generator=generator).sort(dim=2).values * 300 - 50
    scores = torch.rand(num_images, num_classes, num_priors, generator=generator)
    return corners.flatten(2), scores


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.2, 1.0]), st.integers(1, 40))
def test_both_equal_the_plain_loop(seed: int, score_threshold: float, nms_threshold: float, limit: int) -> None:
    inputs = random_inputs(seed)
    settings = (score_threshold, nms_threshold, limit)
    expected = plain(*inputs, *settings)
    assert torch.equal(suppress(*inputs, *settings), expected)
    assert torch.equal(suppress_best(*inputs, *settings, num_candidates=10**6), expected)


def test_of_the_best_candidates_only() -> None:
    boxes, scores = random_inputs(0)
    least = scores.flatten(1).topk(20, dim=1).values[:, -1]
    expected = plain(boxes, torch.where(scores >= least[:, None, None], scores, 0), 0.0, 0.3, 30)
    assert torch.equal(suppress_best(boxes, scores, 0.0, 0.3, 30, num_candidates=20), expected)


def test_it_is_a_sound_operator() -> None:
    torch.library.opcheck(torch.ops.ssd.suppress.default, (*random_inputs(0), 0.1, 0.45, 7))


class Suppress(nn.Module):
    def __init__(self, score_threshold: float, nms_threshold: float, max_per_class: int):
        super().__init__()
        self.settings = score_threshold, nms_threshold, max_per_class

    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return suppress(boxes, scores, *self.settings)


def in_onnx_runtime(folder: Path, settings: tuple[float, float, int], boxes: Tensor, scores: Tensor) -> Tensor:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = folder / "suppress.onnx"
    program = torch.onnx.export(
        Suppress(*settings).eval(),
        random_inputs(0, num_classes=scores.shape[1], num_priors=scores.shape[2]),
        dynamo=True,
        dynamic_shapes=({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}),
        custom_translation_table=onnx_translations(),
        input_names=["boxes", "scores"],
        verbose=False,
    )
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})[0])


@pytest.mark.parametrize("num_images", [1, 5])
def test_onnx_equals_torch(num_images: int, tmp_path: Path) -> None:
    inputs = random_inputs(1, num_images)
    expected = suppress(*inputs, 0.3, 0.45, 4)
    assert (expected > 0).any()
    assert torch.equal(in_onnx_runtime(tmp_path, (0.3, 0.45, 4), *inputs), expected)


def test_onnx_at_the_thresholds(tmp_path: Path) -> None:
    """Both must be exceeded; of equal scores the first stands; boxes without an area meet nobody."""
    boxes = torch.tensor([[[0.0, 0, 2, 1], [0, 0, 1, 1], [9, 9, 10, 10], [9, 9, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5]]])
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.7, 0.6, 0.6], [0.5, 0.5, 0.5, 0.25, 0.5, 0.5]]])
    expected = torch.tensor([[[0.9, 0.8, 0.7, -1, 0.6, 0.6], [-1, -1, -1, -1, -1, -1]]])
    for found in (suppress(boxes, scores, 0.5, 0.5, 9), in_onnx_runtime(tmp_path, (0.5, 0.5, 9), boxes, scores)):
        assert torch.equal(found, expected)


def test_onnx_without_a_limit_or_anything_found(tmp_path: Path) -> None:
    boxes, scores = random_inputs(2)
    assert torch.equal(in_onnx_runtime(tmp_path, (1.0, 0.5, 30), boxes, scores), torch.full_like(scores, -1))
    assert torch.equal(in_onnx_runtime(tmp_path, (0.0, 1.0, 30), boxes, scores), scores)
