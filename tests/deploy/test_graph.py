"""The exported networks in PyTorch: equal to Predictor's resizing, normalisation and PostProcessor."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.data.samples import resize_image
from ssd.deploy import Metadata, make_metadata
from ssd.deploy.graph import CompleteDetector, RawDetector, suppress, suppress_best
from ssd.modeling.box_head import Predictions
from ssd.structures import Container
from ssd.tools.data.scenes import render_scene
from tests.deploy.detectors import NAMES, detect, make_batch, make_detector, make_small_config

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
    """Return the detections of each image; the rest is zeros."""
    boxes, scores, labels, counts = outputs
    assert [field.dtype for field in outputs] == [torch.float32, torch.float32, torch.int64, torch.int64]
    for image, count in enumerate(counts):
        assert not any(field[image, count:].any() for field in (boxes, scores, labels))
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
def test_complete_equals_the_detector(options: list, nms) -> None:
    config = make_small_config(*options)
    model = make_detector(config)
    images = make_batch(config, 3)
    complete = CompleteDetector(RawDetector(model), make_metadata(config, model, NAMES), nms).eval()
    with torch.no_grad():
        found = unpad(complete(images.permute(0, 2, 3, 1)))
    check_equal(found, detect(config, model, images))
    assert sum(len(image["scores"]) for image in found) > 5 or config.TEST.CONFIDENCE_THRESHOLD == 1.0


class Fixed(nn.Module):
    """Returns the same predictions for all images, and keeps these."""

    def __init__(self, cls_logits: Tensor, bbox_pred: Tensor):
        super().__init__()
        self.predictions = cls_logits, bbox_pred

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.images = images
        return self.predictions


NO_IMAGES = torch.zeros(2, 96, 128, 3, dtype=torch.uint8)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("is_score", [False, True])
def test_extreme_predictions(value: float, is_score: bool, small_detector, metadata: Metadata) -> None:
    generator = torch.Generator().manual_seed(0)
    cls_logits = torch.randn(2, len(metadata.priors), 5, generator=generator) * 3
    bbox_pred = torch.randn(2, len(metadata.priors), 4, generator=generator)
    (cls_logits if is_score else bbox_pred)[0, ::3] = value
    expected = small_detector.box_head.detect(Predictions(cls_logits, bbox_pred))
    complete = CompleteDetector(Fixed(cls_logits, bbox_pred), metadata, suppress)
    check_equal(unpad(complete(NO_IMAGES)), expected)


def test_sigmoid_scores() -> None:
    config = make_small_config("MODEL.BOX_HEAD.SCORES", "sigmoid")
    model = make_detector(config)
    metadata = make_metadata(config, model, NAMES)
    predictions = Predictions(*(torch.randn(2, len(metadata.priors), count) for count in (5, 4)))
    expected = model.box_head.detect(predictions)
    torch.testing.assert_close(expected[0]["scores"][0], predictions.cls_logits[0, :, 1:].max().sigmoid())
    check_equal(unpad(CompleteDetector(Fixed(*predictions), metadata, suppress)(NO_IMAGES)), expected)


def test_equal_scores_fill_the_image(small_detector, metadata: Metadata) -> None:
    predictions = Predictions(*(torch.zeros(1, len(metadata.priors), count) for count in (5, 4)))
    (expected,) = small_detector.box_head.detect(predictions)
    (found,) = unpad(CompleteDetector(Fixed(*predictions), metadata, suppress)(NO_IMAGES[:1]))
    assert found["scores"].tolist() == expected["scores"].tolist() == [pytest.approx(0.2)] * 100


@pytest.mark.parametrize("size", [(640, 480), (97, 33), (128, 95), (1, 1)])
def test_images_are_resized_as_by_opencv(size: tuple[int, int], metadata: Metadata) -> None:
    image, _ = render_scene(0, 0, (640, 480))
    image = np.ascontiguousarray(image[: size[1], : size[0]])
    network = Fixed(torch.zeros(1, len(metadata.priors), 5), torch.zeros(1, len(metadata.priors), 4))
    complete = CompleteDetector(network, metadata, suppress)
    complete(torch.from_numpy(image)[None])
    resized = network.images * complete.std + complete.mean
    expected = torch.from_numpy(resize_image(image, (96, 128))).permute(2, 0, 1)
    assert (resized[0].round() - expected).abs().max() <= 1
