"""NMS for exported graphs: against plain loops, and both implementations against each other."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim
from torchvision.ops import box_iou

from ssd.deploy.graph import onnx_translations, suppress, suppress_best


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


def random_inputs(seed: int, num_images: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(num_images, 30, 2, 2, generator=generator).sort(dim=2).values * 300 - 50
    return corners.flatten(2), torch.rand(num_images, 3, 30, generator=generator)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.2, 1.0]), st.integers(1, 40))
def test_both_equal_the_plain_loop(seed: int, score_threshold: float, nms_threshold: float, limit: int) -> None:
    inputs, settings = random_inputs(seed), (score_threshold, nms_threshold, limit)
    expected = plain(*inputs, *settings)
    assert torch.equal(suppress(*inputs, *settings), expected)
    assert torch.equal(suppress_best(*inputs, *settings, num_candidates=10**6), expected)


def test_of_the_best_candidates_only() -> None:
    boxes, scores = random_inputs(0)
    torch.library.opcheck(torch.ops.ssd.suppress.default, (boxes, scores, 0.1, 0.45, 7))
    least = scores.flatten(1).topk(20, dim=1).values[:, -1]
    expected = plain(boxes, torch.where(scores >= least[:, None, None], scores, 0), 0.0, 0.3, 30)
    assert torch.equal(suppress_best(boxes, scores, 0.0, 0.3, 30, num_candidates=20), expected)


class Suppress(nn.Module):
    def __init__(self, score_threshold: float, nms_threshold: float, max_per_class: int):
        super().__init__()
        self.settings = score_threshold, nms_threshold, max_per_class

    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return suppress(boxes, scores, *self.settings)


class InOnnxRuntime:
    """``suppress`` as an ONNX file."""

    def __init__(self, path: Path, settings: tuple[float, float, int]):
        onnxruntime = pytest.importorskip("onnxruntime")
        options = {"dynamic_shapes": ({0: Dim.DYNAMIC},) * 2, "custom_translation_table": onnx_translations()}
        options |= {"input_names": ["boxes", "scores"], "dynamo": True, "verbose": False}
        program = torch.onnx.export(Suppress(*settings).eval(), random_inputs(0), **options)
        assert program is not None
        program.save(path)
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __call__(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})[0])


def test_onnx_equals_torch(tmp_path: Path) -> None:
    """Score and IoU must exceed 0.5; of equal scores the first stays; boxes without an area overlap nothing."""
    settings = (0.5, 0.5, 4)
    in_onnx = InOnnxRuntime(tmp_path / "suppress.onnx", settings)
    for num_images in (1, 5):
        inputs = random_inputs(1, num_images)
        expected = suppress(*inputs, *settings)
        assert (expected > 0).any()
        assert torch.equal(in_onnx(*inputs), expected)

    boxes = torch.tensor([[[0.0, 0, 2, 1], [0, 0, 1, 1], [9, 9, 10, 10], [9, 9, 10, 10], [5, 5, 5, 5]]])
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.7, 0.6], [0.5, 0.5, 0.5, 0.25, 0.5], [0.0, 0, 0, 0.6, 0.7]]])
    expected = torch.tensor([[[0.9, 0.8, 0.7, -1, 0.6], [-1, -1, -1, -1, -1], [-1, -1, -1, 0.6, 0.7]]])
    inputs = F.pad(boxes, (0, 0, 0, 25)), F.pad(scores, (0, 25))
    for found in (suppress(*inputs, *settings), in_onnx(*inputs)):
        assert torch.equal(found, F.pad(expected, (0, 25), value=-1))


def test_onnx_without_a_limit_or_anything_found(tmp_path: Path) -> None:
    in_onnx = InOnnxRuntime(tmp_path / "suppress.onnx", (0.0, 1.0, 30))
    boxes, scores = random_inputs(2)
    assert torch.equal(in_onnx(boxes, scores), scores)
    assert torch.equal(in_onnx(boxes, torch.zeros_like(scores)), torch.full_like(scores, -1))
