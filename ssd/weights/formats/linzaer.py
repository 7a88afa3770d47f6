"""Ultra-Light face detectors, slim and RFB, of Linzaer: bare state dicts, and their .caffemodel files.

In these, layers are named by numbers, in the order of execution, and batch norms are folded.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import layouts, qfgaohao
from ssd.weights.formats.format import Converted, Format, rename

_CLASSES = ("face",)
_SIZE_NOTE = (
    "The input is taken for {} x {} by the name of the file, whose tensors are the same for 320 x 240 and 640 x 480. "
    "A 640 in its name stands for the second."
)
_RFB = "backbone.features.7"
_RULES = (
    *(
        (rf"base_net\.7\.{theirs}\.{kind}\.(?P<leaf>.+)", rf"{_RFB}.{ours}.{place}.\g<leaf>")
        for theirs, ours in ((r"branch(\d)\.(\d)", r"branches.\1.\2"), ("ConvLinear", "linear"), ("shortcut",) * 2)
        for place, kind in enumerate(("conv", "bn"))
    ),
    *qfgaohao.PLAIN_RULES,
)


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    return _converted(rename(weights, _RULES), content)


def _converted(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    network = "rfb" if f"{_RFB}.linear.0.weight" in weights else "slim"
    names = _CLASSES if layouts.count_classes(weights) == 1 + len(_CLASSES) else None
    size = (480, 640) if "640" in str(content.get("file_name")) else (240, 320)
    config, note = f"interop/ultralight_{network}_320_face", _SIZE_NOTE.format(*reversed(size))
    return Converted(weights, config, ("INPUT.IMAGE_SIZE", size), names, (note,))


def _convert_caffe(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    layers = [name.removesuffix(".0") for name in weights if name.endswith(".0")]
    known = {network: list(_layers(network == "rfb")) for network in ("slim", "rfb")}
    found = [names for names in known.values() if len(names) == len(layers)]
    if not found:
        counts = " and ".join(f"{len(names)} ({network})" for network, names in known.items())
        raise CheckpointError(f"it has {len(layers)} convolutions, and these networks have {counts}")
    pairs = list(zip(layers, found[0], strict=True))
    rules = [(rf"{re.escape(theirs)}\.0", f"{conv}.weight") for theirs, (conv, _) in pairs]
    rules += [(rf"{re.escape(theirs)}\.1", f"{norm or conv}.bias") for theirs, (conv, norm) in pairs]
    ours = rename(weights, rules)
    for _, (_, norm) in pairs:
        if norm and f"{norm}.bias" in ours:  # else loading names it
            ours |= {f"{norm}.{name}": value for name, value in layouts.folded_norm(ours[f"{norm}.bias"]).items()}
    return _converted(ours, content)


def _layers(has_rfb: bool) -> Iterator[tuple[str, str]]:
    """Yield the names of convolutions and of the batch norms behind them, "" for none, in the order of execution."""
    yield "backbone.features.0.0", "backbone.features.0.1"
    level = 0
    for number in range(1, 13):
        layer = f"backbone.features.{number}"
        if has_rfb and layer == _RFB:
            branches = [
                f"{layer}.branches.{branch}.{place}" for branch, size in enumerate((3, 3, 4)) for place in range(size)
            ]
            yield from ((f"{unit}.0", f"{unit}.1") for unit in (*branches, f"{layer}.linear", f"{layer}.shortcut"))
        else:
            yield from ((f"{layer}.{place}", f"{layer}.{place + 1}") for place in (0, 3))
        if number in (7, 10, 12):
            for headers in (layouts.CLS_HEADERS, layouts.REG_HEADERS):
                yield from ((f"{headers}.{level}.{place}", "") for place in (0, 2))
            level += 1
    yield from ((f"backbone.extras.0.{place}", "") for place in ("0", "2.0", "2.2"))
    yield from ((f"{headers}.{level}", "") for headers in (layouts.CLS_HEADERS, layouts.REG_HEADERS))


_MARKS = (r"base_net\.12\.3\.weight$", r"extras\.0\.2\.2\.weight$", r"classification_headers\.3\.weight$")
_CAFFE_MARKS = (r"\d{2,3}\.0$", r"\d{2,3}\.1$")
FORMATS = (
    Format("ultralight", "Ultra-Light face detector of Linzaer", _MARKS, _convert),
    Format("ultralight-caffe", "Ultra-Light face detector of Linzaer, in Caffe", _CAFFE_MARKS, _convert_caffe),
)
