"""Description of an exported network, and the JSON file (side-car) that has it.

P priors.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ssd.config import Config
from ssd.data.transforms import BatchTransform
from ssd.modeling.detector import SSDDetector
from ssd.structures.boxes import height_width
from ssd.utils.errors import ExportError, OutputError, os_errors_as
from ssd.utils.files import sha256_of, write_text
from ssd.version import __version__

FORMAT_VERSION = 1
PROGRAM_METADATA = "metadata.json"  # in the archive of a torch.export program


@dataclass(frozen=True)
class Metadata:
    """Description of an exported network."""

    class_names: tuple[str, ...]  # index = label, background first
    image_size: tuple[int, int]  # (height, width) of the network input in pixels
    pixel_mean: tuple[float, ...]  # RGB, on the scale 0 to 255
    pixel_std: tuple[float, ...]  # on the same scale
    center_variance: float  # see BoxCoder
    size_variance: float
    score_threshold: float  # see PostProcessor, as the next five
    nms_threshold: float
    pre_nms_top_k: int
    max_per_class: int
    max_per_image: int
    clip_boxes: bool
    priors: tuple[tuple[float, ...], ...]  # P times (cx, cy, w, h), relative to the image
    score_thresholds: tuple[float, ...] = ()  # by label, defaults of a Predictor, see ``find_score_thresholds``
    score_function: str = "softmax"  # or "sigmoid", see ``class_scores``
    kind: str = "complete"  # (uint8 images in, detections out) or "raw" (normalised images in, predictions out)
    sha256: str = ""  # of the exported file, empty for a .pt2
    library_version: str = __version__

    @property
    def batch_transform(self) -> BatchTransform:
        """Normalisation of uint8 images."""
        return BatchTransform(list(self.pixel_mean), list(self.pixel_std))


def make_metadata(
    cfg: Config, model: SSDDetector, class_names: Sequence[str], score_thresholds: Sequence[float] | None = None
) -> Metadata:
    """Describe a detector by its config, its priors, its class names (background first) and its score thresholds."""
    if cfg.TEST.SOFT_NMS > 0 or cfg.TEST.CLASS_AGNOSTIC_NMS:
        key = "SOFT_NMS" if cfg.TEST.SOFT_NMS > 0 else "CLASS_AGNOSTIC_NMS"
        raise ExportError(f"TEST.{key} is {cfg.TEST[key]}, but exported networks have class-wise NMS; unset it")
    return Metadata(
        class_names=tuple(class_names),
        image_size=height_width(cfg.INPUT.IMAGE_SIZE),
        pixel_mean=tuple(map(float, cfg.INPUT.PIXEL_MEAN)),
        pixel_std=tuple(map(float, cfg.INPUT.PIXEL_STD)),
        center_variance=cfg.MODEL.CENTER_VARIANCE,
        size_variance=cfg.MODEL.SIZE_VARIANCE,
        score_threshold=cfg.TEST.CONFIDENCE_THRESHOLD,
        nms_threshold=cfg.TEST.NMS_THRESHOLD,
        pre_nms_top_k=cfg.TEST.PRE_NMS_TOP_K,
        max_per_class=cfg.TEST.MAX_PER_CLASS,
        max_per_image=cfg.TEST.MAX_PER_IMAGE,
        clip_boxes=cfg.TEST.CLIP_BOXES,
        # Nine digits identify every float32.
        priors=tuple(tuple(float(f"{value:.9g}") for value in prior) for prior in model.box_head.priors.tolist()),
        score_thresholds=tuple(score_thresholds or ()),
        score_function=cfg.MODEL.BOX_HEAD.SCORES,
    )


def side_car(path: str | Path) -> Path:
    """Return the path of the description of an exported file: the same with the suffix .json."""
    return Path(path).with_suffix(".json")


def to_json(metadata: Metadata) -> str:
    """Return the description as JSON, one key per line."""
    document = {"format_version": FORMAT_VERSION, **asdict(metadata)}
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()) + "\n}\n"


def write_metadata(metadata: Metadata, path: str | Path) -> None:
    """Write the side-car of the exported file ``path``, with its hash."""
    with os_errors_as(OutputError, side_car(path)):
        write_text(side_car(path), to_json(replace(metadata, sha256=sha256_of(Path(path)))))


def read_metadata(path: str | Path) -> Metadata:
    """Read the side-car of the exported file ``path``; ExportError if it is missing, damaged or of another file."""
    path, source = Path(path), side_car(path)
    if not path.is_file():
        raise ExportError(f"exported network {str(path)!r} does not exist; `ssd export` writes one")
    if not source.is_file():
        raise ExportError(
            f"{path} has no {source.name} next to it, which describes its input and classes; copy it along, or run a "
            "file of another library with the tools of that library"
        )
    metadata = parse_metadata(source.read_bytes(), str(source))
    if sha256_of(path) != metadata.sha256:
        raise ExportError(
            f"{source} belongs to another file than {path.name}: its key sha256 differs, so one of the two is damaged "
            "or was replaced; export again, or copy both together"
        )
    return metadata


def parse_metadata(content: bytes, source: str) -> Metadata:
    """Parse a description; raise ExportError, which names ``source``, if it is damaged or of another version."""
    try:
        # Files of version 1.0.0 lack the first two.
        document = {"score_function": "softmax", "score_thresholds": [], **json.loads(content)}
        if document["format_version"] == FORMAT_VERSION:
            return Metadata(**{field.name: _to_tuples(document[field.name]) for field in fields(Metadata)})
    except (ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{source} is no description of an exported network ({error!r}); export again") from error
    raise ExportError(
        f"{source}: key format_version is {document['format_version']!r}, this version of the library reads "
        f"{FORMAT_VERSION}; export again, or use the library that wrote it"
    )


def _to_tuples(value: Any) -> Any:
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value
