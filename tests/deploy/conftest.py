"""Detectors that find something though nobody has trained them, images for them, and comparing what they find."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.data.samples import resize_image
from ssd.deploy import export_onnx, export_program, make_metadata
from ssd.modeling.box_head.box_predictor import last_conv
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.structures.size import height_width
from ssd.tools.data.scenes import render_scene
from ssd.utils.image import read_image

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="session")
def make_detector() -> Callable[[Config], nn.Module]:
    """A function that builds the detector of a config; scores and boxes depend on the image, and vary widely."""

    @torch.no_grad()
    def make(config: Config) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_detection_model(config, pretrained=False).eval()
        images = as_batch(config, photographs(2))
        features = model.backbone(make_batch_transform(config, is_train=False)(images))
        predictor = model.box_head.predictor
        for level, feature in enumerate(features):
            for header, spread in ((predictor.cls_headers[level], 1.5), (predictor.reg_headers[level], 1.0)):
                conv = last_conv(header)[1]
                assert conv.bias is not None
                conv.bias.zero_()
                conv.weight *= spread / header(feature).std()
        for header in predictor.cls_headers:
            last_conv(header)[1].bias.unflatten(0, (-1, config.MODEL.NUM_CLASSES))[:, 0] = 8.0
        return model

    return make


@pytest.fixture(scope="session")
def small_config() -> Config:
    """The config of a detector that exports in seconds."""
    return make_small_config()


def make_small_config(*overrides: object) -> Config:
    return load_config(
        None,
        [
            *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", 5),
            *("INPUT.IMAGE_SIZE", (96, 128), "INPUT.PIXEL_STD", [58, 57, 57]),
            *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
            *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
            *overrides,
        ],
    )


@pytest.fixture(scope="session")
def with_options(small_config: Config) -> Callable[..., Config]:
    """A function that returns the small config with overrides."""
    return make_small_config


@pytest.fixture(scope="session")
def small_detector(make_detector: Callable[[Config], nn.Module], small_config: Config) -> nn.Module:
    """Its detector."""
    return make_detector(small_config)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, small_config: Config, small_detector: nn.Module) -> Path:
    """A folder with complete.onnx, raw.onnx, complete.pt2 and raw.pt2 of the small detector."""
    folder = tmp_path_factory.mktemp("exported")
    metadata = make_metadata(small_config, small_detector, ("__background__", "a", "b", "c", "d"))
    for kind in ("complete", "raw"):
        export_onnx(small_detector, folder / f"{kind}.onnx", metadata, complete=kind == "complete")
        export_program(small_detector, folder / f"{kind}.pt2", metadata, complete=kind == "complete")
    return folder


@pytest.fixture(scope="session")
def make_batch() -> Callable[[Config, int], Tensor]:
    """A function that returns so many images at the size of a config's input, uint8 (B, 3, S_h, S_w)."""
    return lambda config, count: as_batch(config, photographs(count))


def photographs(count: int) -> list:
    """The demo images, then rendered scenes; RGB uint8 (H, W, 3) of several sizes."""
    images = [read_image(path) for path in sorted(DEMO.glob("*.jpg"))[:count]]
    scenes = [render_scene(0, number, (320 + 40 * number, 240))[0] for number in range(count - len(images))]
    return images + scenes


def as_batch(config: Config, images: Sequence) -> Tensor:
    size = height_width(config.INPUT.IMAGE_SIZE)
    return torch.stack([torch.from_numpy(resize_image(image, size)).permute(2, 0, 1) for image in images])


@pytest.fixture(scope="session")
def detect() -> Callable[[Config, nn.Module, Tensor], list[Container]]:
    """A function that returns what a PyTorch detector finds in a batch of ``make_batch``."""

    @torch.inference_mode()
    def detections_of(config: Config, model: nn.Module, images: Tensor) -> list[Container]:
        return model.eval()(make_batch_transform(config, is_train=False)(images))

    return detections_of


@pytest.fixture(scope="session")
def check_same() -> Callable[..., tuple[float, float]]:
    return assert_same


def assert_same(
    config: Config, found: Sequence[Container], expected: Sequence[Container], least: int = 1
) -> tuple[float, float]:
    """Compare detections, image by image: the same in the same order, up to ties; some image has ``least`` of them.

    Returns:
        Largest difference of a box in pixels, and of a score.
    """
    assert max(len(image["scores"]) for image in expected) >= least
    box, score = 0.0, 0.0
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.img_width, ours.img_height) == (theirs.img_width, theirs.img_height)
        rows, columns = match(ours, theirs)
        check_alone(config, without(ours, rows), without(theirs, columns), cut(config, ours))
        check_alone(config, without(theirs, columns), without(ours, rows), cut(config, theirs))
        is_swapped = (rows[:, None] < rows) != (columns[:, None] < columns)
        scores = theirs["scores"][columns]
        assert not ((scores[:, None] - scores).abs()[is_swapped] > TIE).any()
        box = max([box, *(ours["boxes"][rows] - theirs["boxes"][columns]).abs().flatten().tolist()])
        score = max([score, *(ours["scores"][rows] - scores).abs().tolist()])
    return box, score


TIE = 2e-5  # two scores that are nearer to each other may come in any order


def match(ours: Container, theirs: Container) -> tuple[Tensor, Tensor]:
    """Pair detections of one class within 0.1 pixels and 1e-3 of score, each with the nearest in the order."""
    pairs: dict[int, int] = {}
    for column in range(len(theirs["scores"])):
        is_same = ours["labels"] == theirs["labels"][column]
        is_same &= (ours["boxes"] - theirs["boxes"][column]).abs().amax(dim=1) <= 0.1
        is_same &= (ours["scores"] - theirs["scores"][column]).abs() <= 1e-3
        rows = set(is_same.nonzero().flatten().tolist()) - set(pairs)
        if rows:
            pairs[min(rows, key=lambda row: abs(row - column))] = column
    return torch.tensor(list(pairs), dtype=torch.int64), torch.tensor(list(pairs.values()), dtype=torch.int64)


def without(detections: Container, matched: Tensor) -> Container:
    """The detections that have no partner."""
    is_alone = torch.ones_like(detections["scores"], dtype=torch.bool)
    is_alone[matched] = False
    return Container(**{name: detections[name][is_alone] for name in detections})


def cut(config: Config, detections: Container) -> float:
    """The score below which nothing is kept."""
    is_full = len(detections["scores"]) == config.TEST.MAX_PER_IMAGE
    return float(detections["scores"][-1]) if is_full else config.TEST.CONFIDENCE_THRESHOLD


def check_alone(config: Config, alone: Container, others: Container, lowest: float) -> None:
    """Detections without a partner may be due to a tie alone.

    Either they are just above the threshold or limit. Or one of ``others``, which have no partner either, suppresses
    them: of two that overlap with equal scores either may stand, and then others that only one of the two overlaps.
    """
    is_rival = box_iou(alone["boxes"].double(), others["boxes"].double()) > config.TEST.NMS_THRESHOLD
    is_rival &= alone["labels"][:, None] == others["labels"]
    is_rival &= others["scores"] >= alone["scores"][:, None] - TIE
    is_excused = is_rival.any(dim=1) | (alone["scores"] - lowest <= TIE)
    assert is_excused.all(), f"without a partner: {alone}"
