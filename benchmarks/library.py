"""The entry points of the library that build, train and detect, as train.py uses them. Metrics are called directly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ssd.config import Config, load_config
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.data.samples import TrainingSamples
from ssd.data.transforms import BatchTransform
from ssd.engine.prefetch import prefetch
from ssd.engine.step import make_step_options, step
from ssd.inference.predictor import Predictor
from ssd.inference.torch_network import TorchNetwork
from ssd.modeling.anchors import PriorBox
from ssd.modeling.box_head import MultiBoxLoss, PostProcessor
from ssd.modeling.box_head.target_assigner import TargetAssigner
from ssd.modeling.detector import build_detection_model
from ssd.solver import make_optimizer
from ssd.structures import Container
from ssd.structures.size import height_width
from ssd.utils.device import keep_freed_memory
from ssd.weights.precision import in_precision, make_network, select_dtype

ROOT = Path(__file__).parents[1]

VGG_SSD300 = "vgg_ssd300_voc0712"
RESNET50_SSD300 = "resnet50_ssd300_coco2017"
MOBILENET_V2_SSD320 = "mobilenet_v2_ssd320_voc0712"
# The levels of SSD300, which a config may leave to the backbone: with them priors need no backbone.
_SSD300_LEVELS = (
    *("MODEL.PRIORS.FEATURE_MAPS", [38, 19, 10, 5, 3, 1], "MODEL.PRIORS.STRIDES", [8, 16, 32, 64, 100, 300]),
    *("MODEL.PRIORS.BOXES_PER_LOCATION", [4, 6, 6, 6, 4, 4]),
)
# A network for a smoke run.
TINY = (
    *("MODEL.BACKBONE.NAME", "tiny", "INPUT.IMAGE_SIZE", 96),
    *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
)


def read_config(name: str, *options: Any) -> Config:
    """Read one of the shipped configs, to start from random weights.

    The learning rate is so small that nothing diverges, however long a step is repeated.
    """
    fixed = ("MODEL.BACKBONE.PRETRAINED", False, "SOLVER.LR", 1e-6)
    return load_config(ROOT / "configs" / f"{name}.yaml", [*fixed, *options])


def with_photos(cfg: Config, photos: Path) -> Config:
    """Return a config that trains on the rendered photographs."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.CUSTOM.photos = Config({"FORMAT": "voc", "ROOT": str(photos), "SPLIT": "trainval"})
    cfg.DATASETS.TRAIN = ("photos",)
    cfg.freeze()
    return cfg


def build_loader(cfg: Config) -> DataLoader:
    """Build the training loader."""
    return make_train_loader(cfg, build_datasets(cfg, is_train=True))


def load_batches(cfg: Config, device: torch.device) -> Iterator[tuple[Tensor, Container, Tensor]]:
    """Return an iterator of the training loader's batches (images, targets, ids) on the device."""
    return iter(prefetch(build_loader(cfg), device))


def num_workers(cfg: Config) -> int:
    """Return the number of workers that the training loader of a config starts."""
    return build_loader(cfg).num_workers


def build_samples(cfg: Config) -> TrainingSamples:
    """Build what a worker of the loader runs: samples by (index, position), from the file to the augmented image."""
    samples = build_loader(cfg).dataset
    assert isinstance(samples, TrainingSamples)
    return samples


def build_model(cfg: Config, device: torch.device, *, channels_last: bool = True) -> nn.Module:
    """Build a detector, by default in the memory format in which train.py trains it."""
    model = build_detection_model(cfg).to(device)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def build_transform(cfg: Config, *, is_train: bool) -> BatchTransform:
    """Build what happens to a batch on the device."""
    return make_batch_transform(cfg, is_train=is_train)


def prepare_process(device: torch.device) -> None:
    """Prepare this process for training as the scripts do."""
    if device.type == "cpu":
        keep_freed_memory()


class TrainingStep:
    """Training steps of a detector as train.py takes them.

    Args:
        cfg: the configuration; SOLVER.AMP and COMPILE say how.
        device: trains there.
        channels_last: the memory format; the library's is this one.
    """

    def __init__(self, cfg: Config, device: torch.device, *, channels_last: bool = True):
        self.model = build_model(cfg, device, channels_last=channels_last).train()
        self.transform = build_transform(cfg, is_train=True)
        dtype = select_dtype(cfg.SOLVER.AMP, device, "SOLVER.AMP")
        self._network = make_network(cfg, self.model, dtype)
        self._options = make_step_options(cfg, self.model, dtype)
        self._optimizer = make_optimizer(cfg, self.model)

    def __call__(self, images: Tensor, targets: Container) -> None:
        """Take one step on normalised images."""
        step(self._network, self._optimizer, images, targets, self._options)


def in_bf16(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a module that runs a detector in bfloat16."""
    return in_precision(model, device.type, torch.bfloat16)


@torch.inference_mode()
def detect(model: nn.Module, images: Tensor) -> list[Container]:
    """Detect in normalised images; the results are on the CPU."""
    return [found.to("cpu") for found in model(images)]


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, *, bf16: bool = False) -> tuple[Tensor, Tensor]:
    """Run the network alone: class logits (B, P, C) and offsets (B, P, 4) at every prior."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return model.box_head.predictor(model.backbone(images))  # type: ignore[operator, union-attr]


def build_predictor(cfg: Config, device: torch.device, *, bf16: bool = False) -> Predictor:
    """Build what detects in files, as ``init_detector`` does, with random weights."""
    model = build_model(cfg, device).eval()
    network = TorchNetwork(in_bf16(model, device) if bf16 else model, build_transform(cfg, is_train=False))
    class_names = [str(label) for label in range(cfg.MODEL.NUM_CLASSES)]
    return Predictor(network, height_width(cfg.INPUT.IMAGE_SIZE), class_names)


def priors_of(model: nn.Module) -> Tensor:
    """Return the priors (P, 4) of a detector, centre form relative to the image."""
    return model.box_head.priors  # type: ignore[union-attr, return-value]


def give_predictions(model: nn.Module, predictions: tuple[Tensor, Tensor]) -> None:
    """Let the predictor of a detector work as ever and return ``predictions``: those of random weights are not like
    any that post-processing meets."""
    model.get_submodule("box_head.predictor").register_forward_hook(lambda *_: predictions)


class SSD300Head:
    """Matching, loss and post-processing of SSD300, without a network.

    Args:
        device: of all tensors.
        num_classes: with background.
    """

    def __init__(self, device: torch.device, num_classes: int):
        cfg = read_config(VGG_SSD300, *_SSD300_LEVELS, "MODEL.NUM_CLASSES", num_classes)
        self.priors = PriorBox(cfg)().to(device)  # (P, 4) centre form relative to the image
        self.assign = TargetAssigner(cfg)
        self.loss = MultiBoxLoss(cfg.MODEL.NEG_POS_RATIO)
        self.post_process = PostProcessor(cfg)
