"""The networks of lufficc/SSD's seven configs against arrays recorded from it; test_lufficc_files.py has the rest."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssd.config import load_config
from ssd.modeling.detector import build_detection_model
from tests.hashed import hashed

CONFIGS = Path(__file__).parents[2] / "configs"
CASES = {  # size of the input, relative and absolute tolerance of the forward pass
    "vgg_ssd300_voc0712": (300, 1e-5, 1e-5),
    "vgg_ssd512_voc0712": (512, 1e-5, 1e-5),
    "vgg_ssd300_coco_trainval35k": (300, 1e-5, 1e-5),
    "vgg_ssd512_coco_trainval35k": (512, 1e-5, 1e-5),
    "mobilenet_v2_ssd320_voc0712": (320, 1e-3, 1e-5),
    "mobilenet_v3_ssd320_voc0712": (320, 1e-3, 1e-5),
    "efficient_net_b3_ssd300_voc0712": (300, 1e-3, 1e-4),
}


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_forward(name: str, goldens: Path) -> None:
    """With the weights of the recording."""
    model = build_detection_model(load_config(CONFIGS / f"{name}.yaml"), pretrained=False).eval()
    model.load_state_dict({key: hashed(key, tensor.shape) for key, tensor in model.state_dict().items()})
    size, rtol, atol = CASES[name]
    golden = np.load(goldens / "lufficc" / f"network_forward_{name}.npz")
    image = torch.from_numpy(np.random.RandomState(7).normal(0, 1, (1, 3, size, size)).astype(np.float32))
    features = model.backbone(image)
    assert len(features) == sum(key.endswith("_shape") and key.startswith("feature") for key in golden)
    for level, feature in enumerate(features):
        assert feature.shape == tuple(golden[f"feature{level}_shape"])
        head = golden[f"feature{level}_flat_head"]
        np.testing.assert_allclose(feature.flatten()[: len(head)], head, rtol=rtol, atol=atol)
        mean_std = [feature.double().mean(), feature.double().std()]
        np.testing.assert_allclose(mean_std, golden[f"feature{level}_mean_std"], rtol=rtol, atol=atol)
    cls_logits, bbox_pred = model.box_head.predictor(features)
    np.testing.assert_allclose(cls_logits[:, ::37], golden["cls_logits_stride37"], rtol=rtol, atol=atol)
    np.testing.assert_allclose(bbox_pred[:, ::37], golden["bbox_pred_stride37"], rtol=rtol, atol=atol)
