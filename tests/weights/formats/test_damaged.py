"""Files of each format with a tensor missing, one more, or one of another shape are refused by its name."""

import re

import pytest
import torch

from tests.weights.formats import peers

HEADERS = "box_head.predictor"
# (their name, our name) by listing.
TENSORS = {
    "weiliu89_ssd300_voc": [
        ("fc6.0", "backbone.vgg.31.weight"),
        ("conv4_3_norm.0", "backbone.l2_norm.weight"),
        ("conv9_2_mbox_loc.1", f"{HEADERS}.reg_headers.5.bias"),
    ],
    "chuanqi305_mobilenet_ssd_voc": [
        ("conv3/dw.0", "backbone.features.3.0.weight"),
        ("conv14_1.1", "backbone.extras.0.0.bias"),
        ("conv17_2_mbox_conf.0", f"{HEADERS}.cls_headers.5.weight"),
    ],
    "opencv-res10_face": [
        ("layer_128_1_scale2.0", "backbone.blocks.1.norm.weight"),
        ("layer_256_1_conv_expand.0", "backbone.blocks.2.shortcut.weight"),
        ("conv8_1_h.0", "backbone.extras.2.0.weight"),
    ],
    "ultralight_rfb_320_face": [
        ("base_net.7.branch2.3.bn.running_mean", "backbone.features.7.branches.2.3.1.running_mean"),
        ("extras.0.2.2.bias", "backbone.extras.0.2.2.bias"),
    ],
    "ultralight-caffe_rfb_320_face": [("245.1", "backbone.features.0.1.bias")],
    "lufficc_vgg_ssd300_voc0712": [(f"{HEADERS}.cls_headers.0.bias", f"{HEADERS}.cls_headers.0.bias")],
    "sgrvinod_ssd300_voc": [
        ("base.conv1_1.bias", "backbone.vgg.0.bias"),
        ("aux_convs.conv11_2.weight", "backbone.extras.7.weight"),
        ("rescale_factors", "backbone.l2_norm.weight"),
        ("pred_convs.loc_conv8_2.weight", f"{HEADERS}.reg_headers.2.weight"),
    ],
    "uvipen_ssdlite300_mobilenetv2_coco": [
        ("feature_extractor.feature_extractor.14.conv.0.1.running_var", "backbone.features.14.conv.0.1.running_var"),
        ("additional_blocks.3.conv.2.weight", "backbone.extras.3.conv.2.weight"),
        ("loc.2.0.bias", f"{HEADERS}.reg_headers.2.conv.0.bias"),
        ("conf.5.3.weight", f"{HEADERS}.cls_headers.5.conv.3.weight"),
    ],
}
# Of these a conversion without the tensor tells our name.
LISTINGS = [
    *(f"qfgaohao_{name}_voc" for name in ("mb1-ssd", "mb1-ssd-lite", "mb2-ssd-lite", "mb3-large-ssd-lite")),
    *(f"qfgaohao_{name}_voc" for name in ("mb3-small-ssd-lite", "sq-ssd-lite", "vgg16-ssd")),
    *("amdegroot_ssd300_voc", "mlperf_ssd300_resnet34_coco", "mmdet_ssd300_voc", "mmdet_ssdlite_mobilenetv2_coco"),
    *("nvidia_ssd300_resnet18_coco", "torchvision_ssd300_vgg16_coco"),
    "torchvision_ssdlite320_mobilenet_v3_large_coco",
]


def some_names(listing: str) -> list[str]:
    """Every fourth kind of name; kinds differ in more than numbers."""
    names = [name for name in peers.read_shapes(listing) if not name.endswith("num_batches_tracked")]
    return [*{re.sub(r"\d+", "", name): name for name in names}.values()][::4]


CASES = [(listing, *pair) for listing, pairs in TENSORS.items() for pair in pairs]
CASES += [(listing, name, "") for listing in LISTINGS for name in some_names(listing)]


@pytest.mark.parametrize(("listing", "theirs", "ours"), CASES)
def test_damaged(listing: str, theirs: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(peers.meta_weights(listing), theirs, ours)
