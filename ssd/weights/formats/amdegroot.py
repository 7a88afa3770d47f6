"""SSD300 of amdegroot/ssd.pytorch: bare state dicts. Channels, priors and classes lie as ours do.

Its COCO config has 201 classes, of which data has the first 81. The others were never an object, so their scores are
none in a trained file.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.weights.formats.headers import CLS_HEADERS, count_classes, take_values, with_headers
from ssd.weights.formats.source import Converted, Source, StateDict, rename
from ssd.weights.formats.vgg import CONVS, L2_NORM, level_names, rules, vgg_names

_NAMES = {
    "L2Norm.weight": L2_NORM,
    **vgg_names(
        convs=[f"vgg.{conv}" for conv in CONVS],
        extras=[f"extras.{index}" for index in range(8)],
        cls_headers=level_names("conf.{}"),
        reg_headers=level_names("loc.{}"),
    ),
}
_COCO_SLOTS, _COCO_CLASSES = 201, 81


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of the amdegroot port.

    Raises:
        CheckpointError: the headers of the first level are missing, headers do not go together, or a name is
            unexpected.
    """
    ours = rename(weights, rules(_NAMES))
    notes = [
        "Priors are clipped, as this project trained; the weights that it converted from Caffe, ssd_300_VOC0712.pth, "
        "were trained without: set MODEL.PRIORS.CLIP False for those, which the file does not tell."
    ]
    num_classes = count_classes(ours)
    if num_classes == _COCO_SLOTS:
        ours = with_headers(
            ours, rf"{CLS_HEADERS}\..+", partial(take_values, num_values=_COCO_SLOTS, indices=range(_COCO_CLASSES))
        )
        notes.append(
            "The first 81 of 201 classes are kept, those of COCO; this project's config has more slots than COCO has "
            "classes, and the others were never an object."
        )
    is_coco = num_classes in (_COCO_SLOTS, _COCO_CLASSES)
    return Converted(ours, f"interop/amdegroot_ssd300_{'coco' if is_coco else 'voc'}", notes=tuple(notes))


SOURCE = Source(
    name="amdegroot",
    title="SSD300 of amdegroot/ssd.pytorch",
    marks=(r"vgg\.0\.weight$", r"L2Norm\.weight$", r"loc\.0\.weight$", r"conf\.0\.weight$"),
    convert=convert,
)
