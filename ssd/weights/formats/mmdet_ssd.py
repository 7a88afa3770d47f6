"""SSD300 and SSD512 of mmdetection from 2.0 on, ``{"meta", "state_dict"}``: the background is the last class.

Before 2.14 the extra layers were numbered through and headers had no second number. 1.x had those names too, but the
background first, and priors and boxes of inclusive pixels, which the code for 2.x and 3.x no longer draws.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.headers import CLS_HEADERS, background_first, background_last, count_classes, with_headers
from ssd.weights.formats.mmdet_settings import differences
from ssd.weights.formats.source import Converted, Source, StateDict, rename
from ssd.weights.formats.target import Target
from ssd.weights.formats.vgg import (
    CONVS,
    L2_NORM,
    inverse_rules,
    is_ssd512,
    level_names,
    rules,
    vgg_names,
)

_EXTRAS = range(10)  # of SSD512; SSD300 has the first eight
_NAMES = {
    "neck.l2_norm.weight": L2_NORM,
    **vgg_names(
        convs=[f"backbone.features.{conv}" for conv in CONVS],
        extras=[f"neck.extra_layers.{index // 2}.{index % 2}.conv" for index in _EXTRAS],
        cls_headers=level_names("bbox_head.cls_convs.{}.0"),
        reg_headers=level_names("bbox_head.reg_convs.{}.0"),
    ),
}
_OLD_NAMES = {  # before 2.14
    "backbone.l2_norm.weight": L2_NORM,
    **vgg_names(
        convs=[f"backbone.features.{conv}" for conv in CONVS],
        extras=[f"backbone.extra.{index}" for index in _EXTRAS],
        cls_headers=level_names("bbox_head.cls_convs.{}"),
        reg_headers=level_names("bbox_head.reg_convs.{}"),
    ),
}


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of mmdetection.

    Raises:
        CheckpointError: the file is of mmdetection 1.x, the headers of the first level are missing, headers do not go
            together, or a name is unexpected.
    """
    meta = meta_of(content)
    is_old = "backbone.l2_norm.weight" in weights
    notes = _version_notes(meta, is_old)
    ours = rename(weights, rules(_OLD_NAMES if is_old else _NAMES))
    num_classes = count_classes(ours)
    size, smallest_of_coco = (512, 0.1) if is_ssd512(ours) else (300, 0.15)
    data = _priors_of(meta, num_classes, smallest_of_coco)
    if num_classes not in (21, 81):
        notes += (f"The priors are taken for those of mmdetection's config for {data.upper()}; see MODEL.PRIORS.",)
    ours = with_headers(ours, rf"{CLS_HEADERS}\..+", partial(background_first, num_classes=num_classes))
    return Converted(ours, f"interop/mmdet_ssd{size}_{data}", class_names=class_names_of(meta), notes=notes)


def _version_notes(meta: Mapping[str, Any], is_old: bool) -> tuple[str, ...]:
    version = str(meta.get("mmdet_version", ""))
    if re.match(r"[01]\.", version):
        raise CheckpointError(
            f"it was written by mmdetection {version}, whose SSD has other priors and the background first; only files "
            "of 2.0 and later can be converted. The models that mmdetection published since then are such files"
        )
    if is_old and not version:
        return (
            "The file names no version of mmdetection, and is taken for one of 2.0 to 2.13. If it is of 1.x, whose "
            "tensors have the same names, its detections are meaningless here.",
        )
    return ()


def _priors_of(meta: Mapping[str, Any], num_classes: int, smallest_of_coco: float) -> str:
    """Of which of its configs: as basesize_ratio_range in the file says, else by the number of classes."""
    text = meta.get("cfg") or meta.get("config")  # of 3.x, of 2.x
    ratio = re.search(r"basesize_ratio_range=\(\s*([\d.]+)", text) if isinstance(text, str) else None
    if ratio is not None:
        return "coco" if float(ratio[1]) == smallest_of_coco else "voc"
    return "voc" if num_classes == 21 else "coco"


def meta_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a file of mmdetection tells of itself, besides the weights; empty if that is nothing."""
    meta = content.get("meta")
    return meta if isinstance(meta, Mapping) else {}


def class_names_of(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names from ``dataset_meta`` (3.x) or ``CLASSES`` (2.x)."""
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, Mapping) else {}
    names = dataset.get("classes") or dataset.get("CLASSES") or meta.get("CLASSES")
    if isinstance(names, str):  # a set of one class may be written so
        return (names,)
    is_list = isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
    return tuple(names) if names and is_list else None


def restore(weights: StateDict, class_names: Sequence[str]) -> dict[str, Any]:
    """Give weights the names of mmdetection 2.14 and later, and put the background last.

    Args:
        weights: of a VGG SSD300 or SSD512, in our names.
        class_names: without background; empty = not known.

    Raises:
        CheckpointError: they are of another network.
    """
    if L2_NORM not in weights:
        raise CheckpointError(
            "mmdetection has VGG16 with an L2 norm of conv4_3, and these weights are of another network"
        )
    num_classes = count_classes(weights)
    last = with_headers(weights, rf"{CLS_HEADERS}\..+", partial(background_last, num_classes=num_classes))
    names = {"CLASSES": tuple(class_names), "dataset_meta": {"classes": tuple(class_names)}} if class_names else {}
    return {"meta": names, "state_dict": rename(last, inverse_rules(_NAMES))}


SOURCE = Source(
    name="mmdet",
    title="mmdetection's SSD with VGG16",
    marks=(
        r"backbone\.features\.0\.weight$",
        r"(neck|backbone)\.l2_norm\.weight$",
        r"bbox_head\.cls_convs\.0\.(0\.)?bias$",
    ),
    convert=convert,
)
TARGET = Target("mmdet", "mmdetection's SSD with VGG16", restore, differences)
