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
from ssd.engine.make import make_step
from ssd.engine.prefetch import prefetch
from ssd.inference.predictor import Predictor
from ssd.inference.torch_network import TorchNetwork
from ssd.modeling.box_head import Predictions, SSDBoxHead
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.solver import make_optimizer
from ssd.structures import Container
from ssd.structures.boxes import height_width
from ssd.utils.device import keep_freed_memory, select_dtype

ROOT = Path(__file__).parents[1]

VGG_SSD300 = "vgg_ssd300_voc0712"
RESNET50_SSD300 = "resnet50_ssd300_coco2017"
MOBILENET_V2_SSD320 = "mobilenet_v2_ssd320_voc0712"
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


def build_model(cfg: Config, device: torch.device, *, channels_last: bool = True) -> SSDDetector:
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
        self._step = make_step(cfg, self.model, make_optimizer(cfg, self.model), dtype)

    def __call__(self, images: Tensor, targets: Container) -> None:
        """Take one step on normalised images."""
        self._step.update(self._step.forward_backward(images, targets))


@torch.inference_mode()
def detect(model: SSDDetector, images: Tensor, *, bf16: bool = False) -> list[Container]:
    """Detect in normalised images; the results are on the CPU."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        predictions = model.predict(images)
    return [found.to("cpu") for found in model.box_head.detect(predictions)]


@torch.inference_mode()
def predict(model: SSDDetector, images: Tensor, *, bf16: bool = False) -> Predictions:
    """Run the network alone: class logits (B, P, C) and offsets (B, P, 4) at every prior."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return model.predict(images)


def build_predictor(cfg: Config, device: torch.device, *, bf16: bool = False) -> Predictor:
    """Build what detects in files, as ``init_detector`` does, with random weights."""
    model = build_model(cfg, device).eval()
    network = TorchNetwork(model, build_transform(cfg, is_train=False), torch.bfloat16 if bf16 else torch.float32)
    class_names = [str(label) for label in range(cfg.MODEL.NUM_CLASSES)]
    return Predictor(network, height_width(cfg.INPUT.IMAGE_SIZE), class_names)


def give_predictions(model: nn.Module, predictions: tuple[Tensor, Tensor]) -> None:
    """Let the predictor of a detector work as usual and return ``predictions``: those of random weights are not like
    any that post-processing meets."""
    model.get_submodule("box_head.predictor").register_forward_hook(lambda *_: predictions)


def build_ssd300_head(device: torch.device, num_classes: int) -> SSDBoxHead:
    """Build the head of SSD300 on VOC without a network: matching, loss and post-processing."""
    cfg = read_config(VGG_SSD300, "MODEL.NUM_CLASSES", num_classes)
    with torch.device("meta"):
        head = build_detection_model(cfg).box_head
    head.predictor = nn.Identity()
    head.priors = head.prior_box()
    return head.to(device)
