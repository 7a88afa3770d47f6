"""What a user of an exported network must know about it, and the JSON file beside it that says so.

P priors.
"""

import hashlib
import json
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from ssd.config import Config
from ssd.structures.size import height_width
from ssd.utils.errors import ExportError, OutputError, os_errors_as
from ssd.utils.files import atomic_write
from ssd.version import __version__

FORMAT_VERSION = 1
KINDS = ("complete", "raw")


@dataclass(frozen=True)
class Metadata:
    """What is in an exported file.

    Attributes:
        class_names: index = label, background first.
        image_size: (height, width) of the network input in pixels.
        pixel_mean: RGB, on the scale 0 to 255; the network sees (pixel - mean) / std.
        pixel_std: likewise.
        center_variance: see ``decode_boxes``.
        size_variance: likewise.
        score_threshold: detections score above this.
        nms_threshold: of two boxes of one class, the lower-scored is dropped when their IoU exceeds this.
        pre_nms_top_k: candidates per class and image that go into NMS; -1 = all.
        max_per_class: detections per class and image; -1 = no limit.
        max_per_image: detections per image; -1 = no limit.
        clip_boxes: whether boxes are clipped to the image before NMS.
        priors: P times (cx, cy, w, h), relative to the image.
        kind: complete (uint8 images in, detections out) or raw (normalised input, predictions at every prior out).
        sha256: of the exported file; empty before there is one.
        library_version: that exported it.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    center_variance: float
    size_variance: float
    score_threshold: float
    nms_threshold: float
    pre_nms_top_k: int
    max_per_class: int
    max_per_image: int
    clip_boxes: bool
    priors: tuple[tuple[float, ...], ...]
    kind: str = "complete"
    sha256: str = ""
    library_version: str = __version__


def make_metadata(cfg: Config, model: nn.Module, class_names: Sequence[str]) -> Metadata:
    """Describe a detector.

    Args:
        cfg: its config; reads INPUT, the variances and TEST.
        model: the detector; gives the priors.
        class_names: index = label, background first.
    """
    # Nine digits are enough to give every float32 back.
    head: Any = model.box_head
    priors = [[float(f"{value:.9g}") for value in prior] for prior in head.priors.tolist()]
    return Metadata(
        class_names=tuple(class_names),
        image_size=height_width(cfg.INPUT.IMAGE_SIZE),
        pixel_mean=tuple(float(value) for value in cfg.INPUT.PIXEL_MEAN),
        pixel_std=tuple(float(value) for value in cfg.INPUT.PIXEL_STD),
        center_variance=cfg.MODEL.CENTER_VARIANCE,
        size_variance=cfg.MODEL.SIZE_VARIANCE,
        score_threshold=cfg.TEST.CONFIDENCE_THRESHOLD,
        nms_threshold=cfg.TEST.NMS_THRESHOLD,
        pre_nms_top_k=cfg.TEST.PRE_NMS_TOP_K,
        max_per_class=cfg.TEST.MAX_PER_CLASS,
        max_per_image=cfg.TEST.MAX_PER_IMAGE,
        clip_boxes=cfg.TEST.CLIP_BOXES,
        priors=tuple(tuple(prior) for prior in priors),
    )


def fitted(metadata: Metadata, complete: bool) -> Metadata:
    """Return the description of one export of a detector."""
    return replace(metadata, kind="complete" if complete else "raw", sha256="", library_version=__version__)


def side_car(path: str | Path) -> Path:
    """Return where the description of an exported file lies: beside it, with the suffix .json."""
    return Path(path).with_suffix(".json")


def to_json(metadata: Metadata) -> str:
    """Write the description out, one key a line."""
    document = {"format_version": FORMAT_VERSION, **_conventions(metadata), **asdict(metadata)}
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()) + "\n}\n"


def write_metadata(metadata: Metadata, path: str | Path) -> Metadata:
    """Write the side-car of an exported file, which must be there already.

    Args:
        metadata: its description; the hash is filled in.
        path: the exported file.

    Returns:
        What was written.

    Raises:
        OutputError: the side-car cannot be written.
    """
    metadata = replace(metadata, sha256=_sha256(Path(path)))
    with os_errors_as(OutputError, side_car(path)), atomic_write(side_car(path)) as file:
        file.write(to_json(metadata).encode())
    return metadata


def read_metadata(path: str | Path) -> Metadata:
    """Read the side-car of an exported file, and check that the two belong together.

    Args:
        path: the exported file.

    Raises:
        ExportError: one of them is missing, the side-car is damaged, or it describes another file.
    """
    path, source = Path(path), side_car(path)
    if not path.is_file():
        raise ExportError(f"exported network {str(path)!r} does not exist; `ssd export` writes one")
    if not source.is_file():
        raise ExportError(
            f"{path} has no {source.name} beside it, which describes its input and classes; copy it along, or, "
            "if this file does not come from this library, use the tool that wrote it"
        )
    metadata = _parse(source)
    if _sha256(path) != metadata.sha256:
        raise ExportError(
            f"{source} was written for another file than {path.name}: its key sha256 differs, so one of the two is "
            "damaged or was replaced; export again, or copy both together"
        )
    return metadata


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _conventions(metadata: Metadata) -> dict[str, Any]:
    """What is true of all files of this kind, in words for those who read them with other tools."""
    height, width = metadata.image_size
    if metadata.kind == "raw":
        return {
            "input": f"images: float32 (batch, 3, {height}, {width}), RGB, (pixel - pixel_mean) / pixel_std",
            "outputs": {
                "cls_logits": "float32 (batch, priors, classes), before softmax; class 0 is the background",
                "bbox_pred": "float32 (batch, priors, 4), offsets from the priors, see center_variance, size_variance",
            },
        }
    return {
        "input": f"images: uint8 (batch, height, width, 3), RGB, of any size; stretched to {height} x {width} inside",
        "outputs": {
            "boxes": "float32 (batch, detections, 4), x1, y1, x2, y2 in pixels of the images given",
            "scores": "float32 (batch, detections), best first",
            "labels": "int64 (batch, detections), index into class_names",
            "counts": "int64 (batch), detections of each image; rows beyond are zero",
        },
    }


def _parse(path: Path) -> Metadata:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ExportError(f"{path} is no JSON: {error}; export again") from None
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version") if isinstance(document, dict) else None
        raise ExportError(
            f"{path}: key format_version is {found!r}, this version of the library reads {FORMAT_VERSION}; "
            "export again, or use the library that wrote it"
        )
    values = {}
    for field in fields(Metadata):
        is_valid, expected = _CHECKS[field.name]
        if field.name not in document:
            raise ExportError(f"{path}: key {field.name} is missing, expected {expected}; export again")
        value = document[field.name]
        if not is_valid(value):
            raise ExportError(f"{path}: key {field.name} must be {expected}, got {reprlib.repr(value)}; export again")
        values[field.name] = _as_tuples(value)
    return Metadata(**values)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(is_valid: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and length in (None, len(value)) and len(value) > 0 and all(map(is_valid, value))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_limit(value: Any) -> bool:
    return type(value) is int and (value == -1 or value > 0)


_PIXEL = (_is_list(_is_number, 3), "three numbers: red, green, blue")
_FRACTION = (lambda value: _is_number(value) and 0 <= value <= 1, "between 0 and 1")
_POSITIVE = (lambda value: _is_number(value) and value > 0, "positive")
_LIMIT = (_is_limit, "positive, or -1 for no limit")
_TEXT = (_is_text, "text")

# key -> (whether a value will do, what is expected)
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "class_names": (_is_list(_is_text), "a list of names, background first"),
    "image_size": (_is_list(lambda side: type(side) is int and side > 0, 2), "[height, width] in pixels"),
    "pixel_mean": _PIXEL,
    "pixel_std": (lambda value: _PIXEL[0](value) and all(std > 0 for std in value), "three positive numbers"),
    "center_variance": _POSITIVE,
    "size_variance": _POSITIVE,
    "score_threshold": _FRACTION,
    "nms_threshold": _FRACTION,
    "pre_nms_top_k": _LIMIT,
    "max_per_class": _LIMIT,
    "max_per_image": _LIMIT,
    "clip_boxes": (lambda value: isinstance(value, bool), "true or false"),
    "priors": (_is_list(_is_list(_is_number, 4)), "a list of [cx, cy, w, h]"),
    "kind": (lambda value: value in KINDS, " or ".join(KINDS)),
    "sha256": _TEXT,
    "library_version": _TEXT,
}
