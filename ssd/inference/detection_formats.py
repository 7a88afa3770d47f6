"""Detections in other formats. Legend: N objects."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

if TYPE_CHECKING:
    from ssd.inference.detections import Detections
    from ssd.inference.sources import VideoInfo

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def to_coco(
    detections: "Detections", image_id: int, category_ids: Mapping[int, int] | None = None
) -> list[dict[str, Any]]:
    """Return results in the format of COCO's API, whose bbox is [x, y, width, height] in pixels.

    ``category_ids`` maps labels to those of the dataset; None = the label itself.
    """
    labels = detections.labels.tolist()
    categories = labels if category_ids is None else [category_ids[label] for label in labels]
    boxes = detections.boxes.astype(np.float64)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # (N, 4)
    return [
        {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        for category, box, score in zip(categories, boxes.tolist(), detections.scores.tolist(), strict=True)
    ]


def to_voc_xml(detections: "Detections") -> str:
    """Return a Pascal VOC annotation, with a <score> per object, which VOC readers ignore.

    Corners count from 1 and are not rounded, so ``VOCDataset`` reads the same boxes, clipped to the image.
    """
    root = ElementTree.Element("annotation")
    folder = detections.path.parent.name if detections.path else ""
    filename = detections.path.name if detections.path else detections.name
    _add_fields(root, {"folder": folder, "filename": filename})
    width, height = detections.orig_size
    _add_fields(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add_fields(root, {"segmented": 0})
    for name, box, score in zip(detections.names, detections.boxes, detections.scores, strict=True):
        element = ElementTree.SubElement(root, "object")
        _add_fields(element, {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": 0, "score": score})
        corners = (box.astype(np.float64) + 1).round(3)
        _add_fields(ElementTree.SubElement(element, "bndbox"), dict(zip(_CORNERS, corners.tolist(), strict=True)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_fields(parent: ElementTree.Element, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = str(value)


def to_yolo(detections: "Detections") -> str:
    """Return a line per object: class from 0, centre x, centre y, width, height, score.

    Coordinates are relative to the image and clipped to it; objects outside it are left out.
    """
    clipped = np.clip(detections.boxes.astype(np.float64) / np.tile(detections.orig_size, 2), 0, 1)  # (N, 4)
    center, extent = (clipped[:, :2] + clipped[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]  # (N, 2) each
    return "".join(
        f"{label - 1} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n"
        for label, (x, y), (w, h), score in zip(detections.labels, center, extent, detections.scores, strict=True)
        if w > 0 and h > 0
    )


def to_json(detections: "Detections") -> str:
    """Return one line of JSON: origin and size of the image, and its objects with boxes [x1, y1, x2, y2] in pixels.

    The fields are those of ``Detections`` and ``VideoInfo``, times are in seconds; null and a frame rate of 0 mean
    unknown.
    """
    scores, boxes = _shortest(detections.scores), _shortest(detections.boxes.reshape(-1))
    content = {
        "name": detections.name,
        "path": str(detections.path) if detections.path else None,
        "index": detections.index,
        "time": detections.time and round(detections.time, 6),
        "width": detections.orig_size[0],
        "height": detections.orig_size[1],
        "video": detections.video and _video_to_json(detections.video),
        "objects": [
            {"name": name, "label": label, "score": scores[row], "box": boxes[4 * row : 4 * row + 4]}
            for row, (name, label) in enumerate(zip(detections.names, detections.labels.tolist(), strict=True))
        ],
    }
    return json.dumps(content, ensure_ascii=False)


def _video_to_json(video: "VideoInfo") -> dict[str, Any]:
    fields = video._asdict()
    width, height = fields.pop("size")
    return {**fields, "width": width, "height": height}


def _shortest(values: np.ndarray) -> list[float]:
    """Return floats with the fewest digits that identify float32 values."""
    return [float(str(value)) for value in values.astype(np.float32)]


def to_pandas(detections: "Detections") -> Any:
    """Return ``pandas.DataFrame``: image, class, score, and x1, y1, x2, y2 in pixels; a row per object."""
    import pandas

    columns = {"image": detections.name, "class": detections.names, "score": detections.scores}
    return pandas.DataFrame({**columns, **dict(zip(("x1", "y1", "x2", "y2"), detections.boxes.T, strict=True))})


def to_supervision(detections: "Detections") -> Any:
    """Return ``supervision.Detections``; class_id is our label, from 1, and data["class_name"] its name."""
    import supervision

    return supervision.Detections(
        xyxy=detections.boxes.copy(),
        confidence=detections.scores.copy(),
        class_id=detections.labels.copy(),
        data={"class_name": np.array(detections.names, dtype=str)},
    )
