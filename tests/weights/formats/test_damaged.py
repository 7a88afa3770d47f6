"""Files of each format with a tensor missing, one more, or one of another shape are refused by its name."""

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
    "amdegroot_ssd300_voc": [
        ("vgg.31.weight", "backbone.vgg.31.weight"),
        ("L2Norm.weight", "backbone.l2_norm.weight"),
        ("loc.3.bias", f"{HEADERS}.reg_headers.3.bias"),
    ],
    "lufficc_vgg_ssd300_voc0712": [(f"{HEADERS}.cls_headers.0.bias", f"{HEADERS}.cls_headers.0.bias")],
    "mlperf_ssd300_resnet34_coco": [
        ("model.layer1.1.running_var", "backbone.bn1.running_var"),
        ("model.layer2.0.5.conv2.weight", "backbone.layer3.5.conv2.weight"),
        ("additional_blocks.0.2.bias", "backbone.extras.0.2.bias"),
    ],
    "mmdet_ssd300_voc": [
        ("backbone.features.28.weight", "backbone.vgg.28.weight"),
        ("neck.extra_layers.2.1.conv.weight", "backbone.extras.5.weight"),
        ("bbox_head.reg_convs.4.0.bias", f"{HEADERS}.reg_headers.4.bias"),
    ],
    "mmdet_ssdlite_mobilenetv2_coco": [
        ("backbone.conv1.bn.weight", "backbone.features.0.1.weight"),
        ("backbone.layer1.0.linear_conv.conv.weight", "backbone.features.1.conv.1.weight"),
        ("neck.extra_layers.3.1.pointwise_conv.conv.weight", "backbone.extras.3.2.0.weight"),
        ("bbox_head.cls_convs.2.0.conv.weight", f"{HEADERS}.cls_headers.2.conv.0.weight"),
        ("bbox_head.reg_convs.1.1.weight", f"{HEADERS}.reg_headers.1.conv.3.weight"),
    ],
    "nvidia_ssd300_resnet18_coco": [
        ("feature_extractor.feature_extractor.0.weight", "backbone.conv1.weight"),
        ("additional_blocks.4.3.weight", "backbone.extras.4.3.weight"),
        ("conf.5.weight", f"{HEADERS}.cls_headers.5.weight"),
    ],
    "qfgaohao_mb1-ssd_voc": [
        ("base_net.5.4.running_mean", "backbone.features.5.4.running_mean"),
        ("classification_headers.0.weight", f"{HEADERS}.cls_headers.0.weight"),
    ],
    "qfgaohao_mb1-ssd-lite_voc": [
        ("extras.3.2.0.weight", "backbone.extras.3.2.0.weight"),
        ("classification_headers.0.2.weight", f"{HEADERS}.cls_headers.0.2.weight"),
    ],
    "qfgaohao_mb2-ssd-lite_voc": [
        ("base_net.1.conv.3.weight", "backbone.features.1.conv.1.weight"),
        ("extras.2.conv.4.running_var", "backbone.extras.2.conv.1.1.running_var"),
    ],
    "qfgaohao_mb3-large-ssd-lite_voc": [
        ("base_net.0.weight", "backbone.features.0.0.weight"),
        ("base_net.13.shortcut.0.weight", "backbone.features.11.shortcut.0.weight"),
        ("extras.3.conv3.weight", "backbone.extras.3.conv.6.weight"),
        ("classification_headers.0.0.bias", f"{HEADERS}.cls_headers.0.conv.0.bias"),
    ],
    "qfgaohao_mb3-small-ssd-lite_voc": [
        ("base_net.3.se.se.4.weight", "backbone.features.1.squeeze.weigh.4.weight"),
    ],
    "qfgaohao_sq-ssd-lite_voc": [
        ("base_net.12.expand3x3.weight", "backbone.features.12.expand3x3.weight"),
        ("regression_headers.1.2.bias", f"{HEADERS}.reg_headers.1.2.bias"),
    ],
    "qfgaohao_vgg16-ssd_voc": [
        ("extras.3.2.bias", "backbone.extras.7.bias"),
        ("source_layer_add_ons.0.running_var", "backbone.batch_norm.running_var"),
    ],
    "sgrvinod_ssd300_voc": [
        ("base.conv1_1.bias", "backbone.vgg.0.bias"),
        ("aux_convs.conv11_2.weight", "backbone.extras.7.weight"),
        ("rescale_factors", "backbone.l2_norm.weight"),
        ("pred_convs.loc_conv8_2.weight", f"{HEADERS}.reg_headers.2.weight"),
    ],
    "torchvision_ssd300_vgg16_coco": [
        ("backbone.features.21.weight", "backbone.vgg.21.weight"),
        ("backbone.extra.0.7.3.bias", "backbone.vgg.33.bias"),
        ("head.regression_head.module_list.1.bias", f"{HEADERS}.reg_headers.1.bias"),
        ("head.classification_head.module_list.3.weight", f"{HEADERS}.cls_headers.3.weight"),
    ],
    "torchvision_ssdlite320_mobilenet_v3_large_coco": [
        ("backbone.features.0.13.1.running_var", "backbone.features.13.conv.0.1.running_var"),
        ("backbone.features.1.0.3.0.weight", "backbone.features.13.conv.3.0.weight"),
        ("backbone.features.1.2.block.0.1.weight", "backbone.features.15.conv.0.1.weight"),
        ("backbone.features.1.3.1.weight", "backbone.features.16.1.weight"),
        ("backbone.extra.3.2.1.bias", "backbone.extras.3.2.1.bias"),
        ("head.classification_head.module_list.2.0.0.weight", f"{HEADERS}.cls_headers.2.conv.0.weight"),
        ("head.classification_head.module_list.4.1.bias", f"{HEADERS}.cls_headers.4.conv.3.bias"),
    ],
    "uvipen_ssdlite300_mobilenetv2_coco": [
        ("feature_extractor.feature_extractor.14.conv.0.1.running_var", "backbone.features.14.conv.0.1.running_var"),
        ("additional_blocks.3.conv.2.weight", "backbone.extras.3.conv.2.weight"),
        ("loc.2.0.bias", f"{HEADERS}.reg_headers.2.conv.0.bias"),
        ("conf.5.3.weight", f"{HEADERS}.cls_headers.5.conv.3.weight"),
    ],
}


@pytest.mark.parametrize(
    ("listing", "theirs", "ours"), [(listing, *pair) for listing, pairs in TENSORS.items() for pair in pairs]
)
def test_damaged(listing: str, theirs: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(peers.meta_weights(listing), theirs, ours)
