"""``explain``: run a detector on one image, and keep all that it computes on the way."""

from collections.abc import Sequence

import numpy as np
import torch

from ssd.data.samples import resize_image
from ssd.data.transforms.geometry import GeometricDraw, map_boxes
from ssd.inference.predictor import Predictor
from ssd.inference.sources import Frame, SingleImage, open_source
from ssd.inference.torch_network import TorchNetwork
from ssd.modeling.box_head import MultiBoxLoss, Predictions, SSDBoxHead
from ssd.modeling.box_head.post_processor import class_scores
from ssd.structures.boxes import center_to_corner
from ssd.tools.explain.candidates import follow_candidates
from ssd.tools.explain.explanation import Explanation
from ssd.tools.explain.layout import make_levels
from ssd.tools.explain.matching import match
from ssd.utils.errors import ConfigError, ImageError


def explain(
    detector: Predictor,
    image: object,
    boxes: np.ndarray | Sequence[Sequence[float]] | None = None,
    labels: np.ndarray | Sequence[int | str] | None = None,
) -> Explanation:
    """Show how a detector works, on one image.

    The numbers come from the functions by which it is trained and by which it detects. The network is in evaluation
    mode and the image whole: training augments it first, and normalises by the batch.

    Args:
        detector: of ``init_detector``.
        image: path, URL, PIL image, RGB array, tensor (3, H, W), or content of a file.
        boxes: (G, 4) the objects, corner form in pixels of the original image, if they are known. As in training they
            are clipped, and those whose centre lies outside of the image are left out.
        labels: (G,) their classes, by name or number from 1.

    Raises:
        ImageError: the image cannot be read, or is not one.
        ConfigError: the detector is not of PyTorch, or has another head than SSDBoxHead; or boxes and labels do not
            fit each other, or name an unknown class.
    """
    frame = _read(image)
    head = find_head(detector)
    pixels = resize_image(frame.image, detector.image_size)
    predictions = predict(detector, pixels)

    height, width = detector.image_size
    size = torch.tensor([width, height, width, height], device=head.priors.device)
    scores = class_scores(predictions.cls_logits)  # (1, P, C - 1)
    decoded = center_to_corner(head.box_coder.decode(predictions.bbox_pred, head.priors))
    pixel_boxes = head.post_processor.to_pixels(decoded)  # (1, P, 4)
    orig_size = frame.image.shape[1], frame.image.shape[0]
    matching = None
    if boxes is not None or labels is not None:
        gt_boxes, gt_labels = relative_boxes(boxes, labels, orig_size, detector.class_names)
        matching = match(head, predictions, gt_boxes, gt_labels)
    return Explanation(
        name=frame.name,
        image=pixels,
        orig_size=orig_size,
        class_names=detector.class_names,
        levels=make_levels(head.prior_box, (head.priors * size).cpu()),
        priors=(center_to_corner(head.priors) * size).cpu(),
        class_scores=predictions.cls_logits[0].softmax(dim=1).cpu(),
        offsets=predictions.bbox_pred[0].cpu(),
        boxes=pixel_boxes[0].cpu(),
        candidates=follow_candidates(head.post_processor, scores, pixel_boxes),
        matching=matching,
    )


def find_head(detector: Predictor) -> SSDBoxHead:
    """Return the head of a detector.

    Raises:
        ConfigError: it is none of ours.
    """
    if not isinstance(detector.network, TorchNetwork):
        raise ConfigError(
            f"{type(detector.network).__name__} tells detections only; explain the checkpoint that it was made from"
        )
    head = detector.network.network.box_head
    if not isinstance(head, SSDBoxHead) or not isinstance(head.loss, MultiBoxLoss):
        raise ConfigError(f"MODEL.BOX_HEAD.NAME gives {type(head).__name__}; what can be explained is SSDBoxHead")
    return head


def predict(detector: Predictor, image: np.ndarray) -> Predictions:
    """Return the predictions of the network for an image, RGB uint8 (S_h, S_w, 3); B is 1."""
    assert isinstance(detector.network, TorchNetwork)
    outputs = detector.network.predict(torch.from_numpy(image).permute(2, 0, 1)[None])
    return Predictions(*(output.clone() for output in outputs))  # ordinary tensors, made out of inference mode


def relative_boxes(
    boxes: np.ndarray | Sequence[Sequence[float]] | None,
    labels: np.ndarray | Sequence[int | str] | None,
    size: tuple[int, int],
    class_names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return objects as training sees them: boxes float32 (G, 4) relative to the image, labels int64 (G,).

    Args:
        boxes: (G, 4) corner form in pixels.
        labels: (G,) by name or number.
        size: (width, height) of the image.
        class_names: background first.

    Raises:
        ConfigError: see ``explain``.
    """
    numbers = np.array([_number(label, class_names) for label in ([] if labels is None else labels)], dtype=np.int64)
    corners = np.asarray([] if boxes is None else boxes, dtype=np.float64)
    if corners.size == 0:
        corners = corners.reshape(0, 4)
    if corners.shape != (len(numbers), 4):
        raise ConfigError(
            f"boxes and labels must have shapes (G, 4) and (G,) with one G; got {corners.shape} and {numbers.shape}"
        )
    return map_boxes(corners, numbers, GeometricDraw((0, 0, *size), mirror=False))


def _number(label: int | str, class_names: Sequence[str]) -> int:
    if isinstance(label, str) and label in class_names[1:]:
        return list(class_names).index(label)
    if not isinstance(label, str) and 1 <= label < len(class_names):
        return int(label)
    known = ", ".join(f"{number} {name}" for number, name in enumerate(class_names) if number)
    raise ConfigError(f"labels: {label!r} is no class of the detector, which are {known}")


def _read(image: object) -> Frame:
    source = open_source(image)
    if not isinstance(source, SingleImage):
        raise ImageError(f"{image!r} may be many images; one can be explained at a time")
    (pending,) = source
    return pending.read()
