"""A finer level is found, said how to get, and there when it is taken."""

import pytest

from ssd.config import load_config
from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.stages import feature_shapes
from ssd.tools.priors.finer import find_finer_index
from ssd.tools.priors.verdict import describe_finer_level


@pytest.mark.parametrize(("name", "stride"), [("mobilenet_v2", 8), ("mobilenet_v3_ssdlite", 8)])
def test_the_last_layer_that_is_finer(name: str, stride: int) -> None:
    keys = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", 320]
    indices, finer = find_finer_index(load_config(None, keys))
    assert finer is not None
    told = describe_finer_level(name, indices, finer)
    assert told.startswith(f"Set MODEL.BACKBONE.OUT_INDICES {[finer, *indices]}, which adds a finer level")
    maps = [
        [shape[1:] for shape in feature_shapes(build_backbone(load_config(None, [*keys, *more])), (320, 320))]
        for more in ([], ["MODEL.BACKBONE.OUT_INDICES", [finer, *indices]], ["MODEL.BACKBONE.OUT_INDICES", [finer + 1]])
    ]
    assert maps[1][0] == (320 // stride, 320 // stride)
    assert maps[1][1:] == maps[0]
    assert maps[2][0] == maps[0][0]  # the next one is none


def test_where_there_is_none() -> None:
    keys = ["MODEL.BACKBONE.PRETRAINED", False, "MODEL.BACKBONE.NAME"]
    assert find_finer_index(load_config(None, [*keys, "tiny"])) == ([], None)
    first = [*keys, "mobilenet_v2", "MODEL.BACKBONE.OUT_INDICES", [0, 13]]
    assert find_finer_index(load_config(None, first)) == ([0, 13], None)
    assert (
        describe_finer_level("tiny", [], None) == "Backbone tiny has no finer level to offer: enlarge INPUT.IMAGE_SIZE"
    )
