"""SSD300 of amdegroot/ssd.pytorch: bare state dicts. Channels, priors and classes are ordered like ours.

Its COCO config has 201 classes, but the data only has the first 81, so a trained file never predicts the others.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.structures.class_names import COCO_CLASSES
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename

_NAMES = {
    "L2Norm.weight": layouts.L2_NORM,
    **layouts.vgg_names([f"vgg.{conv}" for conv in layouts.VGG_CONVS], [f"extras.{index}" for index in range(8)]),
    **layouts.header_names("conf.{}", "loc.{}"),
}
_COCO_SLOTS, _COCO_CLASSES = 201, 81
_CLIP_NOTE = (
    "Priors are clipped, as in trainings of this project. ssd_300_VOC0712.pth, which it converted from Caffe, was "
    "trained without: set MODEL.PRIORS.CLIP False for that file."
)
_SLOTS_NOTE = (
    "The first 81 of 201 classes are kept, those of COCO: this project's config has more slots than COCO has classes, "
    "and the others were never trained."
)


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    ours = rename(weights, layouts.layer_rules(_NAMES))
    num_classes = layouts.count_classes(ours)
    is_coco = num_classes in (_COCO_SLOTS, _COCO_CLASSES)
    config = f"interop/amdegroot_ssd300_{'coco' if is_coco else 'voc'}"
    if num_classes != _COCO_SLOTS:
        return Converted(ours, config, notes=(_CLIP_NOTE,))
    keep_classes = partial(layouts.take_values, num_values=_COCO_SLOTS, indices=range(_COCO_CLASSES))
    ours = layouts.with_headers(ours, rf"{layouts.CLS_HEADERS}\..+", keep_classes)
    return Converted(ours, config, class_names=COCO_CLASSES, notes=(_CLIP_NOTE, _SLOTS_NOTE))


_MARKS = (r"vgg\.0\.weight$", r"L2Norm\.weight$", r"loc\.0\.weight$", r"conf\.0\.weight$")
FORMATS = (Format("amdegroot", "SSD300 of amdegroot/ssd.pytorch", _MARKS, _convert),)
