"""SSD300, SSD512 and SSDLite320 of mmdetection from 2.0 on, ``{"meta", "state_dict"}``: the background is last.

Before 2.14 the extra layers of SSD300 and SSD512 were numbered through and headers had no second number. 1.x had those
names too, but the background first and other priors. In SSDLite, batch norms add 1e-3 to the variance and the depthwise
convolutions of headers have no biases.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict, adapt_variances
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename

_OLD_L2_NORM = "backbone.l2_norm.weight"  # before 2.14


def _vgg_rules(l2_norm: str, extras: str, header: str) -> list[tuple[str, str]]:
    extra_names = [extras.format(index, index // 2, index % 2) for index in range(10)]  # SSD300 has the first eight
    names = layouts.vgg_names([f"backbone.features.{conv}" for conv in layouts.VGG_CONVS], extra_names)
    names |= layouts.header_names(f"bbox_head.cls_convs.{header}", f"bbox_head.reg_convs.{header}")
    return layouts.layer_rules({l2_norm: layouts.L2_NORM, **names})


_RULES = _vgg_rules("neck.l2_norm.weight", "neck.extra_layers.{1}.{2}.conv", "{}.0")
_OLD_RULES = _vgg_rules(_OLD_L2_NORM, "backbone.extra.{0}", "{}")
_SSDLITE_EPS = 1e-3
# (stage, block) of the inverted residuals in order (MobileNetV2, Table 2).
_BLOCKS = [(stage, block) for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1), start=1) for block in range(count)]


def _convert_vgg(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    meta = _meta(content)
    is_old = _OLD_L2_NORM in weights
    notes = _version_notes(meta, is_old)
    ours = rename(weights, _OLD_RULES if is_old else _RULES)
    num_classes = layouts.count_classes(ours)
    size, smallest_of_coco = (512, 0.1) if f"{layouts.CLS_HEADERS}.6.bias" in ours else (300, 0.15)
    data = _priors_of(meta, num_classes, smallest_of_coco)
    if num_classes not in (21, 81):
        notes += (f"The priors are taken for those of mmdetection's config for {data.upper()}; see MODEL.PRIORS.",)
    move_background = partial(layouts.background_first, num_classes=num_classes)
    ours = layouts.with_headers(ours, rf"{layouts.CLS_HEADERS}\..+", move_background)
    return Converted(ours, f"interop/mmdet_ssd{size}_{data}", class_names=_class_names(meta), notes=notes)


def _convert_ssdlite(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    ours = rename(weights, layouts.layer_rules(_ssdlite_names()))
    ours = layouts.with_depthwise_biases(adapt_variances(ours, _SSDLITE_EPS))
    move_background = partial(layouts.background_first, num_classes=layouts.count_classes(ours))
    ours = layouts.with_headers(ours, rf"{layouts.CLS_HEADERS}\.\d\.conv\.3\.\w+", move_background)
    return Converted(ours, "interop/mmdet_ssdlite320_mobilenetv2_coco", class_names=_class_names(_meta(content)))


def _ssdlite_names() -> dict[str, str]:
    names = {}
    units = {"backbone.conv1": "backbone.features.0", "backbone.conv2": f"backbone.features.{len(_BLOCKS) + 1}"}
    for number, (stage, block) in enumerate(_BLOCKS, start=1):
        theirs, ours = f"backbone.layer{stage}.{block}", f"backbone.features.{number}.conv"
        place = 0
        if stage > 1:  # the first block has no expansion
            units[f"{theirs}.expand_conv"] = f"{ours}.0"
            place = 1
        units[f"{theirs}.depthwise_conv"] = f"{ours}.{place}"
        names[f"{theirs}.linear_conv.conv"] = f"{ours}.{place + 1}"
        names[f"{theirs}.linear_conv.bn"] = f"{ours}.{place + 2}"
    for index in range(4):
        for place, layer in enumerate(("0", "1.depthwise_conv", "1.pointwise_conv")):
            units[f"neck.extra_layers.{index}.{layer}"] = f"backbone.extras.{index}.{place}"
    for level in range(6):
        for kind, ours in (("cls", layouts.CLS_HEADERS), ("reg", layouts.REG_HEADERS)):
            units[f"bbox_head.{kind}_convs.{level}.0"] = f"{ours}.{level}.conv"
            names[f"bbox_head.{kind}_convs.{level}.1"] = f"{ours}.{level}.conv.3"
    for theirs, ours in units.items():
        names |= {f"{theirs}.conv": f"{ours}.0", f"{theirs}.bn": f"{ours}.1"}
    return names


def _version_notes(meta: Mapping[str, Any], is_old: bool) -> tuple[str, ...]:
    version = str(meta.get("mmdet_version", ""))
    if re.match(r"[01]\.", version):
        raise CheckpointError(
            f"it was written by mmdetection {version}, whose SSD has other priors and the background first; only files "
            "of 2.0 and later can be converted"
        )
    if is_old and not version:
        return (
            "The file names no version of mmdetection, and is taken for one of 2.0 to 2.13. If it is of 1.x, whose "
            "tensors have the same names, its detections are meaningless here.",
        )
    return ()


def _priors_of(meta: Mapping[str, Any], num_classes: int, smallest_of_coco: float) -> str:
    """Return coco or voc: by basesize_ratio_range in the file, else by the number of classes."""
    text = meta.get("cfg") or meta.get("config")  # 3.x, 2.x
    ratio = re.search(r"basesize_ratio_range=\(\s*([\d.]+)", text) if isinstance(text, str) else None
    if ratio is not None:
        return "coco" if float(ratio[1]) == smallest_of_coco else "voc"
    return "voc" if num_classes == 21 else "coco"


def _meta(content: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = content.get("meta")
    return meta if isinstance(meta, Mapping) else {}


def _class_names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names in ``dataset_meta`` (3.x) or ``CLASSES`` (2.x)."""
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, Mapping) else {}
    names = dataset.get("classes") or dataset.get("CLASSES") or meta.get("CLASSES")
    if isinstance(names, str):  # one class may be written so
        return (names,)
    is_list = isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
    return tuple(names) if names and is_list else None


_VGG_MARKS = (
    r"backbone\.features\.0\.weight$",
    r"(neck|backbone)\.l2_norm\.weight$",
    r"bbox_head\.cls_convs\.0\.(0\.)?bias$",
)
_SSDLITE_MARKS = (
    r"backbone\.layer7\.0\.linear_conv\.conv\.weight$",
    r"neck\.extra_layers\.0\.1\.depthwise_conv\.conv\.weight$",
    r"bbox_head\.cls_convs\.0\.1\.bias$",
)
FORMATS = (
    Format("mmdet", "mmdetection's SSD with VGG16", _VGG_MARKS, _convert_vgg),
    Format("mmdet-ssdlite", "mmdetection's SSDLite with MobileNetV2", _SSDLITE_MARKS, _convert_ssdlite),
)
