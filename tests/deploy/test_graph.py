"""The exported networks as PyTorch runs them: equal to Predictor's resizing, normalisation and PostProcessor."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from ssd.weights.precision import InPrecision
from torch import Tensor, nn

from ssd.config import Config
from ssd.data.samples import resize_image
from ssd.deploy.graph import CompleteDetector, RawDetector
from ssd.deploy.metadata import make_metadata
from ssd.deploy.nms_op import suppress, suppress_best
from ssd.modeling.box_head import PostProcessor
from ssd.structures import Container
from ssd.tools.data.scenes import render_scene
from ssd.utils.errors import ExportError

NAMES = ("__background__", "a", "b", "c", "d")
OPTIONS = [
    [],
    ["TEST.CLIP_BOXES", True],
    ["TEST.MAX_PER_CLASS", 2],
    ["TEST.PRE_NMS_TOP_K", 3],
    ["TEST.MAX_PER_IMAGE", 3],
    ["TEST.MAX_PER_IMAGE", -1],
    ["TEST.MAX_PER_IMAGE", 10**6, "TEST.MAX_PER_CLASS", 4],
    ["TEST.CONFIDENCE_THRESHOLD", 0.0, "TEST.NMS_THRESHOLD", 0.0],
    ["TEST.NMS_THRESHOLD", 1.0, "TEST.CONFIDENCE_THRESHOLD", 0.5],
    ["TEST.CONFIDENCE_THRESHOLD", 1.0],
    ["MODEL.CENTER_VARIANCE", 0.3, "MODEL.SIZE_VARIANCE", 0.1],
]


def unpad(outputs: tuple[Tensor, ...]) -> list[Container]:
    """The detections of each image; the rest is zeros."""
    boxes, scores, labels, counts = outputs
    assert [field.dtype for field in outputs] == [torch.float32, torch.float32, torch.int64, torch.int64]
    for image, count in enumerate(counts):
        for field in (boxes, scores, labels):
            assert not field[image, count:].any()
    return [
        Container(boxes=boxes[image, :count], labels=labels[image, :count], scores=scores[image, :count])
        for image, count in enumerate(counts.tolist())
    ]


def check_equal(found: list[Container], expected: list[Container]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("labels", "scores", "boxes"):
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("nms", [suppress, partial(suppress_best, num_candidates=10**6)], ids=["op", "torchvision"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_complete_equals_the_detector(
    options: list,
    nms: Callable[..., Tensor],
    make_detector: Callable[[Config], nn.Module],
    make_batch: Callable[[Config, int], Tensor],
    detect: Callable[..., list[Container]],
    with_options: Callable[..., Config],
) -> None:
    config = with_options(*options)
    model = make_detector(config)
    images = make_batch(config, 3)
    complete = CompleteDetector(RawDetector(model), make_metadata(config, model, NAMES), nms).eval()
    expected = detect(config, model, images)
    with torch.no_grad():
        found = unpad(complete(images.permute(0, 2, 3, 1)))
    check_equal(found, expected)
    assert sum(len(image["scores"]) for image in found) > 5 or config.TEST.CONFIDENCE_THRESHOLD == 1.0


class Fixed(nn.Module):
    """Predicts the same whatever it sees."""

    def __init__(self, cls_logits: Tensor, bbox_pred: Tensor):
        super().__init__()
        self.predictions = cls_logits, bbox_pred

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictions


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("is_score", [False, True])
def test_wild_predictions_are_treated_alike(
    wild: float, is_score: bool, small_config: Config, small_detector: nn.Module
) -> None:
    metadata = make_metadata(small_config, small_detector, NAMES)
    generator = torch.Generator().manual_seed(0)
    cls_logits = torch.randn(2, len(metadata.priors), 5, generator=generator) * 3
    bbox_pred = torch.randn(2, len(metadata.priors), 4, generator=generator)
    (cls_logits if is_score else bbox_pred)[0, ::3] = wild
    expected = PostProcessor(small_config)(cls_logits, bbox_pred, small_detector.box_head.priors)
    complete = CompleteDetector(Fixed(cls_logits, bbox_pred), metadata, suppress)
    check_equal(unpad(complete(torch.zeros(2, 96, 128, 3, dtype=torch.uint8))), expected)


def test_equal_scores_come_in_the_same_order(small_config: Config, small_detector: nn.Module) -> None:
    metadata = make_metadata(small_config, small_detector, NAMES)
    bbox_pred = torch.zeros(1, len(metadata.priors), 4)
    cls_logits = torch.zeros(1, len(metadata.priors), 5)
    (expected,) = PostProcessor(small_config)(cls_logits, bbox_pred, small_detector.box_head.priors)
    complete = CompleteDetector(Fixed(cls_logits, bbox_pred), metadata, suppress)
    (found,) = unpad(complete(torch.zeros(1, 96, 128, 3, dtype=torch.uint8)))
    assert found["scores"].tolist() == expected["scores"].tolist() == [pytest.approx(0.2)] * 100


@pytest.mark.parametrize("size", [(640, 480), (97, 33), (128, 95), (1, 1)])
def test_images_are_resized_as_by_opencv(
    size: tuple[int, int], small_config: Config, small_detector: nn.Module
) -> None:
    image, _ = render_scene(0, 0, (640, 480))
    image = np.ascontiguousarray(image[: size[1], : size[0]])
    metadata = make_metadata(small_config, small_detector, NAMES)
    complete = CompleteDetector(nn.Identity(), metadata, suppress)
    resized = complete._normalize(torch.from_numpy(image)[None]) * complete.std + complete.mean
    expected = torch.from_numpy(resize_image(image, (96, 128))).permute(2, 0, 1)
    assert (resized[0].round() - expected).abs().max() <= 1


def test_boxes_are_in_pixels_of_the_image(
    small_config: Config, small_detector: nn.Module, make_batch: Callable[[Config, int], Tensor]
) -> None:
    complete = CompleteDetector(
        RawDetector(small_detector), make_metadata(small_config, small_detector, NAMES), suppress
    )
    images = make_batch(small_config, 2).permute(0, 2, 3, 1)
    twice = images.repeat_interleave(2, dim=1)  # twice as high; resizing by a half takes the mean of equal pixels
    with torch.no_grad():
        one, other = unpad(complete.eval()(images)), unpad(complete(twice))
    assert len(one[0]["boxes"]) > 0
    for found in one:
        found["boxes"] = found["boxes"] * torch.tensor([1, 2, 1, 2])
    check_equal(one, other)


def test_raw_looks_through_another_precision(small_detector: nn.Module) -> None:
    images = torch.zeros(1, 3, 96, 128)
    expected = RawDetector(small_detector)(images)
    found = RawDetector(InPrecision(small_detector, "cpu", torch.bfloat16))(images)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_head_of_another_kind_is_refused(small_detector: nn.Module) -> None:
    class Other(nn.Module):
        box_head = nn.Identity()

    with pytest.raises(ExportError, match=r"Other cannot be exported.*`predictor`"):
        RawDetector(Other())
