"""Detectors of other projects as they were recorded, and comparing ours with them (goldens/README.md).

Weights are made by rule from names and shapes alone, in the names of the other project. "Their order" of priors and
classes is that of the recording.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.box_head import Predictions
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.modeling.detector.levels import make_prior_box
from ssd.structures.boxes import center_to_corner, clip_boxes
from ssd.utils.checkpoint_file import check_model_weights, load_model_weights
from ssd.utils.errors import CheckpointError
from ssd.weights.foreign import find_format, levels_of
from ssd.weights.formats import Converted
from ssd.weights.formats.layouts import count_classes
from ssd.weights.formats.reading import CheckpointContent
from tests.hashed import hashed

ROOT = Path(__file__).parents[3]
GOLDENS = ROOT / "tests" / "goldens"
Recorded = Mapping[str, np.ndarray]


class Peer(NamedTuple):
    """A recorded detector: weights under their names, and the arrays of goldens/peers."""

    weights: StateDict
    recorded: Recorded


class Detector(NamedTuple):
    """A converted detector in evaluation mode, and its config with the overrides of the conversion."""

    config: Config
    model: SSDDetector

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(cells, priors per cell) of every level."""
        levels = levels_of(self.config)
        maps = zip(levels.feature_maps, levels.boxes_per_location, strict=True)
        return [(rows * columns, per_cell) for (rows, columns), per_cell in maps]


def read_listing(listing: str) -> dict[str, Any]:
    """Read goldens/statedicts/``listing``.json."""
    return json.loads((GOLDENS / "statedicts" / f"{listing}.json").read_text())


def read_shapes(listing: str) -> dict[str, list[int]]:
    """Shapes of a listed state dict by name."""
    entries = read_listing(listing)["state_dict"]
    return {name: entry["shape"] if isinstance(entry, dict) else entry for name, entry in entries.items()}


def fill(shapes: Mapping[str, Sequence[int]]) -> StateDict:
    """The weights of a recording: values from the crc32 of each name."""
    return {name: hashed(name, shape) for name, shape in shapes.items()}


def fill_faster(shapes: Mapping[str, Sequence[int]]) -> StateDict:
    """Weights like those of a recording, with other numbers."""
    return {name: hashed(name, shape, np.random.default_rng) for name, shape in shapes.items()}


def meta_weights(listing: str, classes: Mapping[str, tuple[int, int]] | None = None) -> StateDict:
    """Tensors without values of the names and shapes in a listing.

    ``classes`` gives for headers, by regular expression, the number of values there and here.
    """
    shapes = read_shapes(listing)
    for pattern, (num_values, others) in (classes or {}).items():
        for name, shape in shapes.items():
            if re.match(pattern, name):
                shapes[name] = [shape[0] // num_values * others, *shape[1:]]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def load_peer(name: str, listing: str = "") -> Peer:
    """Read goldens/peers/``name``.npz, and fill the weights whose names and shapes ``listing`` (= ``name``) has."""
    peer = Peer(fill(read_shapes(listing or name)), np.load(GOLDENS / "peers" / f"{name}.npz"))
    sums = [sum(value.double().sum().item() for value in peer.weights.values())]
    sums.append(sum(value.double().abs().sum().item() for value in peer.weights.values()))
    np.testing.assert_allclose(sums, peer.recorded["weights_sum_abssum"], rtol=1e-9)
    return peer


def convert(weights: StateDict, content: Mapping[str, Any] | None = None) -> Converted:
    """Convert by the format that recognises the names."""
    return find_format(CheckpointContent("file", weights, {})).convert(weights, content or {})


def build_listed(listing: str) -> Detector:
    """Build the detector of a listing; the values of its weights do not matter."""
    return build(convert({name: torch.empty(shape) for name, shape in read_shapes(listing).items()}))


def build(converted: Converted) -> Detector:
    """Build the detector of a conversion, and load all of its weights."""
    config = read_config(converted.config, "MODEL.NUM_CLASSES", count_classes(converted.weights), *converted.overrides)
    model = build_detection_model(config, pretrained=False)
    load_model_weights(model, converted.weights, "the converted file")
    return Detector(config, model.eval())


def count_built_classes(converted: Converted) -> int:
    """Build what a conversion of tensors without values describes; return its number of classes."""
    with torch.device("meta"):
        return build(converted).config.MODEL.NUM_CLASSES


def check_slots(converted: Converted, weights: StateDict, headers: str, num_slots: int, slots: Sequence[int]) -> None:
    """Check that the 81 classes of our headers are these slots of theirs."""
    for level, num_priors in enumerate((4, 6, 6, 6, 4, 4)):
        for kind in ("weight", "bias"):
            theirs = weights[f"{headers}.{level}.{kind}"].unflatten(0, (num_priors, num_slots))
            ours = converted.weights[f"box_head.predictor.cls_headers.{level}.{kind}"]
            assert torch.equal(ours.unflatten(0, (num_priors, 81)), theirs[:, list(slots)])


def check_fits(converted: Converted) -> None:
    """Raise CheckpointError unless the weights have the names and shapes of what a conversion describes."""
    network = _network(converted.config, count_classes(converted.weights), converted.overrides)
    check_model_weights(network, converted.weights, "the converted file")


@lru_cache
def _network(config: str, num_classes: int, overrides: tuple[Any, ...]) -> nn.Module:
    with torch.device("meta"):
        return build_detection_model(read_config(config, "MODEL.NUM_CLASSES", num_classes, *overrides), False)


def read_config(name: str, *overrides: Any) -> Config:
    """Read a config of configs/."""
    return load_config(ROOT / "configs" / f"{name}.yaml", list(overrides))


def priors_of(name: str) -> Tensor:
    """Priors (P, 4) of a config of configs/."""
    config = read_config(name)
    return make_prior_box(config, levels_of(config))()


def prior_indices(levels: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Our indices of the priors, (cells, priors per cell) each level."""
    sizes = [cells * per_cell for cells, per_cell in levels]
    indices = torch.arange(sum(sizes)).split(sizes)
    return [part.view(-1, per_cell) for part, (_, per_cell) in zip(indices, levels, strict=True)]


def value_major_order(levels: Sequence[tuple[int, int]]) -> Tensor:
    """Our indices (P,) of priors whose order is level, prior of the cell, cell."""
    return torch.cat([indices.T.flatten() for indices in prior_indices(levels)])


def cell_order(levels: Sequence[tuple[int, int]], orders: Mapping[int, Sequence[int]]) -> Tensor:
    """Our indices (P,) of priors that differ in their order within a cell, which ``orders`` gives by their number."""
    levels_of_cells = prior_indices(levels)
    return torch.cat([indices[:, orders.get(indices.shape[1], slice(None))].flatten() for indices in levels_of_cells])


@torch.no_grad()
def predict(detector: Detector, recorded: Recorded) -> tuple[Tensor, Tensor]:
    """Our cls_logits (1, P, C) and bbox_pred (1, P, 4) of the recorded input."""
    size = int(recorded["input_size"])
    pixels = np.random.RandomState(int(recorded["input_seed"])).normal(0, 1, (1, 3, size, size)).astype(np.float32)
    images = torch.from_numpy(pixels) * float(recorded["input_scale"])
    assert torch.equal(images.flatten()[:16], torch.from_numpy(recorded["input_head"]))
    return detector.model.predict(images)


def check_recording(detector: Detector, recorded: Recorded, *, has_total: bool = True, **options: Any) -> None:
    """``check_network`` and ``check_detections``, with their options, on one pass of the network."""
    predictions = predict(detector, recorded)
    check_network(detector, recorded, predictions, **options)
    check_detections(detector, recorded, predictions, has_total=has_total, **options)


def check_network(detector, recorded, predictions, *, order=None, classes=None):
    """Compare priors, predictions, class scores and decoded boxes with the recorded ones.

    Args:
        order (Tensor): Our index (P,) of each of their priors; None = the same order.
        classes (sequence of int): Their index of each of our classes; None = the same.
    """
    columns = slice(None) if classes is None else list(classes)
    priors = detector.model.box_head.priors
    order = torch.arange(len(priors)) if order is None else order
    np.testing.assert_allclose(priors[order], recorded["priors_all"], rtol=0, atol=1e-6)

    chosen = order[torch.from_numpy(recorded["prior_index"])]
    cls_logits, bbox_pred = (values[:, chosen] for values in predictions)
    expected = recorded["class_logits"][..., columns]
    pairs = (("class_logits", cls_logits, expected), ("box_deltas", bbox_pred, recorded["box_deltas"]))
    for name, ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * recorded[f"{name}_mean_std"][1])

    factor = float(recorded["det_logit_factor"])  # brings the scores away from 0 and 1
    scores = torch.from_numpy(expected * factor).softmax(dim=2)
    np.testing.assert_allclose((cls_logits * factor).softmax(dim=2), scores, rtol=0, atol=1e-4)
    offsets = bbox_pred * float(recorded["det_delta_factor"])
    boxes = center_to_corner(detector.model.box_head.box_coder.decode(offsets, priors[chosen]))
    boxes = clip_boxes(boxes, 1, 1) if detector.config.TEST.CLIP_BOXES else boxes
    np.testing.assert_allclose(boxes[0], recorded["boxes_scaled"], rtol=0, atol=1e-4)


def check_detections(detector, recorded, predictions, *, order=None, classes=None, has_total=True):
    """Compare detections on the scaled predictions of the network, and on drawn ones, with the recorded ones.

    The arguments are those of ``check_network``; without ``has_total`` only the best detections are compared.
    """
    num_classes, background = int(recorded["num_classes"]), int(recorded["background_index"])
    columns = torch.arange(num_classes) if classes is None else torch.tensor(classes)
    order = torch.arange(int(recorded["num_priors"])) if order is None else order

    cls_logits, bbox_pred = predictions
    cls_logits = cls_logits * float(recorded["det_logit_factor"])
    cls_logits[..., 0] += float(recorded["det_background_add"])
    bbox_pred = bbox_pred * float(recorded["det_delta_factor"])
    _check_found("det", _detect(detector, cls_logits, bbox_pred), recorded, columns, has_total=has_total)

    shape = (1, len(order))
    theirs = np.random.RandomState(int(recorded["syn_logit_seed"])).normal(0, 2, (*shape, num_classes))
    theirs = torch.from_numpy(theirs.astype(np.float32))
    theirs[..., background] += 5
    offsets = np.random.RandomState(int(recorded["syn_delta_seed"])).normal(0, 1, (*shape, 4)).astype(np.float32)
    cls_logits[:, order], bbox_pred[:, order] = theirs[..., columns], torch.from_numpy(offsets)
    _check_found("syn", _detect(detector, cls_logits, bbox_pred), recorded, columns, has_total=has_total)


def _detect(detector: Detector, cls_logits: Tensor, bbox_pred: Tensor) -> dict[str, Tensor]:
    """Detections of one image, with boxes relative to it."""
    (found,) = detector.model.box_head.detect(Predictions(cls_logits, bbox_pred))
    return {"boxes": found["boxes"] / found.img_width, "labels": found["labels"], "scores": found["scores"]}


def _check_found(kind, found, recorded, columns, *, has_total):
    """Scores agree rank by rank, and each recorded detection is among ours."""
    if has_total:
        assert len(found["scores"]) == int(recorded[f"{kind}_total"])
    boxes, scores = torch.from_numpy(recorded[f"{kind}_boxes"]), torch.from_numpy(recorded[f"{kind}_scores"])
    np.testing.assert_allclose(found["scores"][: len(scores)], scores, rtol=0, atol=1e-3)
    background_is_last = int(recorded["background_index"]) > 0  # such labels count the foreground from 0
    labels = columns[found["labels"]] if not background_is_last else found["labels"] - 1
    is_near = (found["boxes"][None] - boxes[:, None]).abs().amax(dim=2) < 1e-3  # (recorded, found)
    is_near &= (found["scores"] - scores[:, None]).abs() < 1e-3
    is_near &= labels == torch.from_numpy(recorded[f"{kind}_labels"])[:, None]
    is_stable = torch.from_numpy(recorded["det_stable"]) if kind == "det" else torch.ones(len(boxes), dtype=torch.bool)
    missing = (~is_near.any(dim=1) & is_stable).nonzero().flatten().tolist()
    assert missing == [], f"{kind}: recorded detections that are not among ours"


def check_listing(detector: Detector, name: str) -> None:
    """Compare the number of parameters and the priors with those that a listing has."""
    listing = read_listing(name)
    assert sum(p.numel() for p in detector.model.parameters()) == listing["n_params"]
    priors, expected = detector.model.box_head.priors, listing["priors"]
    assert len(priors) == expected["count"]
    np.testing.assert_allclose(priors[:16], expected["first_16"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(priors[-8:], expected["last_8"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(priors.double().sum(dim=0), expected["col_sums"], rtol=1e-6)


@torch.no_grad()
def check_predictions(detector: Detector, images: Tensor, expected: tuple[Tensor, Tensor]) -> None:
    """Compare cls_logits and bbox_pred of images with those that were worked out layer by layer."""
    predictions = detector.model.predict(images)
    for ours, theirs in zip(predictions, expected, strict=True):
        assert theirs.std() > 0.05
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def check_damaged(weights: StateDict, name: str, ours: str = "") -> None:
    """Check that files without ``name``, with one more, or with another shape are refused by that name or ours.

    Without ``ours``, our names are those that the conversion does not give without ``name``.
    """
    format = find_format(CheckpointContent("file", weights, {}))
    without = {key: value for key, value in weights.items() if key != name}
    lost = [ours] if ours else {*format.convert(weights, {}).weights} - {*format.convert(without, {}).weights}
    either = "|".join(map(re.escape, [name, *lost]))
    damaged = {
        either: without,
        r"strange\.weight": {**weights, "strange.weight": torch.zeros(1)},
        f"({either}).* [0-9x]+": {**weights, name: torch.zeros(7, *weights[name].shape[1:])},
    }
    for message, content in damaged.items():
        with pytest.raises(CheckpointError, match=message):
            check_fits(format.convert(content, {}))
