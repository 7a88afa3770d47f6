"""The benchmarks live beside the package, and are run from the repository's root."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

# A stand-in for a checkout of lufficc/SSD: modules and signatures as that project has them, as far as the benchmarks
# call them; the mathematics is left out. It is not that project's code, and its times mean nothing.
STAND_IN = {
    "config/__init__.py": """
from yacs.config import CfgNode
cfg = CfgNode({
    "MODEL": {
        "DEVICE": "cuda", "NEG_POS_RATIO": 3, "CENTER_VARIANCE": 0.1, "SIZE_VARIANCE": 0.2,
        "BACKBONE": {"PRETRAINED": True},
    },
    "INPUT": {"IMAGE_SIZE": 300, "PIXEL_MEAN": [123, 117, 104]},
})
""",
    "data/transforms/__init__.py": """
import numpy as np
import torch
print("a line that a package prints")
def build_transforms(cfg, is_train=True):
    def transform(image, boxes, labels):
        assert is_train and image.dtype == np.uint8 and boxes.dtype == np.float32, (image.dtype, boxes.dtype)
        assert image.shape == (375, 500, 3) and len(boxes) == len(labels) == 8
        return torch.from_numpy(image).float(), boxes, labels
    return transform
def build_target_transform(cfg):
    def target_transform(gt_boxes, gt_labels):
        assert gt_boxes.shape == (8, 4) and gt_boxes.max() <= 1
        return torch.zeros(8732, 4), torch.zeros(8732, dtype=torch.int64)
    return target_transform
""",
    "modeling/anchors/prior_box.py": """
import torch
class PriorBox:
    def __init__(self, cfg):
        pass
    def __call__(self):
        return torch.full((8732, 4), 0.5)
""",
    "modeling/box_head/loss.py": """
from torch import nn
class MultiBoxLoss(nn.Module):
    def __init__(self, neg_pos_ratio):
        super().__init__()
    def forward(self, confidence, predicted_locations, labels, gt_locations):
        assert labels.shape == confidence.shape[:2] and gt_locations.shape == predicted_locations.shape
        return predicted_locations.abs().sum(), confidence.abs().sum()
""",
    "modeling/box_head/inference.py": """
from ssd.utils.nms import batched_nms
class PostProcessor:
    def __init__(self, cfg):
        pass
    def __call__(self, detections):
        scores, boxes = detections
        assert scores.shape[:2] == boxes.shape[:2]
        return [{} for _ in scores]
""",
    "utils/nms.py": """
import sys
import torchvision
if not torchvision.__version__ >= "0.3.0":
    sys.exit(-1)
def batched_nms():
    pass
""",
    "utils/box_utils.py": """
def convert_locations_to_boxes(locations, priors, center_variance, size_variance):
    return locations * center_variance + priors
def center_form_to_corner_form(locations):
    return locations
""",
    "structures/container.py": """
class Container:
    def __init__(self, *args, **kwargs):
        self.fields = dict(*args, **kwargs)
    def to(self, device):
        return self
""",
    "modeling/detector/__init__.py": """
import torch
from torch import nn
from ssd.modeling.box_head.inference import PostProcessor
from ssd.structures.container import Container
class Predictor(nn.Module):
    def forward(self, features):
        return features.mean((2, 3))[:, None], features.mean((2, 3))[:, None]
class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3)
        self.box_head = nn.ModuleDict({"predictor": Predictor()})
    def forward(self, images, targets=None):
        cls_logits, bbox_pred = self.box_head["predictor"](self.backbone(images))
        if self.training:
            return {"reg_loss": bbox_pred.sum(), "cls_loss": cls_logits.sum()}
        return [Container() for _ in images]
def build_detection_model(cfg):
    assert not cfg.MODEL.BACKBONE.PRETRAINED and cfg.MODEL.DEVICE == "cpu"
    return Detector()
""",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The folder of the stand-in."""
    root = tmp_path / "stand-in"
    for name, source in STAND_IN.items():
        path = root / "ssd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    for folder in [root / "ssd", *(path for path in (root / "ssd").rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
    (root / "configs").mkdir()
    (root / "configs" / "vgg_ssd300_voc0712.yaml").write_text("INPUT:\n  IMAGE_SIZE: 300\n")
    return root
