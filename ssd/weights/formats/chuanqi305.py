"""MobileNet-SSD of chuanqi305 in Caffe: the file for detection, whose batch norms are folded, or that of a training."""

import re
from collections.abc import Mapping
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.layers import BatchNorm2d
from ssd.weights.caffe import named_weights, norm_weights, prior_overrides
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename, require

_CONFIG = "interop/chuanqi305_mobilenet_ssd_voc"
_LEVELS = ("conv11", "conv13", "conv14_2", "conv15_2", "conv16_2", "conv17_2")
# Their convolutions, and ours with the norm behind each; the extra layers have none here.
_UNITS = {
    "conv0": ("backbone.features.0.0", "backbone.features.0.1"),
    **{f"conv{n}/dw": (f"backbone.features.{n}.0", f"backbone.features.{n}.1") for n in range(1, 14)},
    **{f"conv{n}": (f"backbone.features.{n}.3", f"backbone.features.{n}.4") for n in range(1, 14)},
    **{f"conv{14 + n}_{1 + place // 2}": (f"backbone.extras.{n}.{place}", "") for n in range(4) for place in (0, 2)},
}
_HEADERS = layouts.layer_rules(layouts.header_names("{}_mbox_conf", "{}_mbox_loc", _LEVELS))


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    rest = dict(weights)
    ours: StateDict = {}
    for layer, (conv, norm) in _UNITS.items():
        names = [name for name in rest if re.fullmatch(rf"{re.escape(layer)}(/bn|/scale)?\.\d", name)]
        ours |= _unit(layer, {name: rest.pop(name) for name in names}, conv, norm)
    ours["backbone.features.0.0.weight"] = ours["backbone.features.0.0.weight"].flip(1)  # Caffe reads blue, green, red
    ours |= rename(named_weights(rest), _HEADERS)
    return Converted(ours, _CONFIG, prior_overrides(content, _CONFIG))


def _unit(layer: str, blobs: StateDict, conv: str, norm: str) -> StateDict:
    """Return a convolution and the batch norm behind it, in our names; without the name of a norm, both as one."""
    has_norm = f"{layer}/bn.0" in blobs
    require(blobs, f"{layer}.0", *(() if has_norm else (f"{layer}.1",)))
    weight = blobs[f"{layer}.0"]
    if not norm and not has_norm:
        return {f"{conv}.weight": weight, f"{conv}.bias": blobs[f"{layer}.1"]}
    parts = (
        norm_weights(blobs, f"{layer}/bn", f"{layer}/scale") if has_norm else layouts.folded_norm(blobs[f"{layer}.1"])
    )
    if norm:
        return {f"{conv}.weight": weight, **{f"{norm}.{name}": value for name, value in parts.items()}}
    scale = parts["weight"] / (parts["running_var"] + BatchNorm2d(1).eps).sqrt()
    return {
        f"{conv}.weight": weight * scale[:, None, None, None],
        f"{conv}.bias": parts["bias"] - parts["running_mean"] * scale,
    }


_MARKS = (r"conv11/dw\.0$", r"conv17_2\.0$", r"conv11_mbox_conf\.1$")
FORMATS = (Format("chuanqi305", "MobileNet-SSD of chuanqi305 in Caffe", _MARKS, _convert),)
