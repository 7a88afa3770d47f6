"""``init_detector`` and ``inference_detector``, from files that a training leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ssd
from ssd.config import Config, load_config
from ssd.data import build_datasets, make_batch_transform, make_test_loader
from ssd.data.datasets import COCO_CLASSES, VOC_CLASSES
from ssd.engine.inference import detect
from ssd.inference.api import inference_detector, init_detector
from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.modeling.detector import build_detection_model
from ssd.utils.checkpoint_file import write_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError, DeviceError, ImageError
from ssd.utils.image import read_image, write_image
from ssd.weights.trained import build_trained_model, read_trained

SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", (64, 96)),
    *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]], "TEST.CONFIDENCE_THRESHOLD", 0.001),
]
CLASS_NAMES = ["__background__", "red", "white"]


def config(*overrides: object) -> Config:
    return load_config(None, [*SMALL, "MODEL.NUM_CLASSES", 3, *overrides])


def make_checkpoint(path: Path, cfg: Config, **values: object) -> Path:
    """Write a checkpoint of random weights."""
    torch.manual_seed(1)
    model = build_detection_model(cfg, pretrained=False)
    for header in model.box_head.predictor.cls_headers:
        nn.init.normal_(header.weight, std=0.1)
    write_checkpoint(path, {"model": model.state_dict(), **values})
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As train.py leaves it."""
    cfg = config()
    return make_checkpoint(tmp_path / "model_final.pth", cfg, config=cfg.dump(), class_names=CLASS_NAMES, iteration=7)


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(config("OUTPUT_DIR", str(tmp_path / "out")).dump())
    return path


@pytest.fixture
def detector(checkpoint: Path) -> Predictor:
    return init_detector(checkpoint, device="cpu")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    write_image(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8), path)
    return path


def same(first: Detections, second: Detections) -> bool:
    return len(first) > 0 and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("boxes", "labels", "scores")
    )


def test_a_checkpoint_alone_a_file_and_a_config_agree(
    checkpoint: Path, yaml_file: Path, picture: Path, tmp_path: Path
) -> None:
    cfg = config("OUTPUT_DIR", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last_checkpoint.txt").write_text(str(checkpoint))
    before = cfg.dump()
    detectors = [
        init_detector(checkpoint),
        init_detector(str(checkpoint)),
        init_detector(yaml_file, checkpoint),
        init_detector(str(yaml_file), str(checkpoint), "cpu"),
        init_detector(cfg, checkpoint),
        init_detector(cfg),
        init_detector(str(yaml_file)),
        ssd.init_detector(checkpoint),
    ]
    assert cfg.dump() == before
    first, *others = [inference_detector(detector, picture) for detector in detectors]
    assert first.class_names == tuple(CLASS_NAMES)
    assert first.orig_size == (70, 50)
    assert first.scores.min() > 0.001
    assert all(same(first, other) for other in others)


def test_it_detects_what_an_evaluation_detects(config_file: Path) -> None:
    """On every image of a test set, from JPEG files, in batches of another size."""
    cfg = load_config(config_file, ["TEST.CONFIDENCE_THRESHOLD", 0.001, "TEST.BATCH_SIZE", 3])
    (dataset,) = build_datasets(cfg, is_train=False)
    sized = load_config(config_file, ["MODEL.NUM_CLASSES", len(dataset.class_names)])
    Path(cfg.OUTPUT_DIR).mkdir()
    path = Path(cfg.OUTPUT_DIR, "model.pth")
    make_checkpoint(path, sized, config=cfg.dump(), class_names=list(dataset.class_names))

    model = build_trained_model(cfg, read_trained(cfg, str(path)), dataset.class_names, torch.device("cpu"))
    expected, _ = detect(model, make_test_loader(cfg, dataset), make_batch_transform(cfg, is_train=False))
    root = Path(cfg.DATASETS.CUSTOM.test_scenes.ROOT)
    names = Path(root, "ImageSets", "Main", "test.txt").read_text().split()
    paths = [root / "JPEGImages" / f"{name}.jpg" for name in names]
    results = init_detector(path, device="cpu").predict(paths, batch_size=2)
    assert len(results) == len(expected) == 4
    for found, theirs in zip(results, expected, strict=True):
        assert len(found) > 0
        assert found.orig_size == (theirs.img_width, theirs.img_height)
        assert found.labels.tolist() == theirs["labels"].tolist()
        np.testing.assert_allclose(found.scores, theirs["scores"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.boxes, theirs["boxes"], rtol=1e-4, atol=1e-2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_device_replaces_the_configured_one(tmp_path: Path, picture: Path) -> None:
    cfg = config("MODEL.DEVICE", "cuda")
    path = make_checkpoint(tmp_path / "model.pth", cfg, config=cfg.dump(), class_names=CLASS_NAMES)
    assert len(inference_detector(init_detector(path), picture)) > 0
    for device in ("cuda:0", "gpu"):
        with pytest.raises(DeviceError, match=f"'{device}'"):
            init_detector(path, device=device)


@pytest.mark.parametrize("override", [("MODEL.BACKBONE.PRETRAINED", "gone.pth"), ("MODEL.NUM_CLASSES", 0)])
def test_pretrained_weights_and_datasets_are_not_needed(tmp_path: Path, override: tuple[str, object]) -> None:
    path = tmp_path / "model.pth"
    make_checkpoint(path, config(), config=config(*override).dump(), class_names=CLASS_NAMES)
    assert init_detector(path).class_names == tuple(CLASS_NAMES)


@pytest.mark.parametrize("names", [VOC_CLASSES, COCO_CLASSES], ids=["voc", "coco"])
def test_published_checkpoints_name_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    cfg = config("MODEL.NUM_CLASSES", len(names) + 1)
    path = make_checkpoint(tmp_path / "lufficc.pth", cfg)
    assert init_detector(cfg, path).class_names == ("__background__", *names)


def test_the_config_may_name_the_classes(tmp_path: Path, checkpoint: Path) -> None:
    path = make_checkpoint(tmp_path / "nameless.pth", config())
    with pytest.raises(ConfigError, match=r"nameless\.pth .*MODEL\.WEIGHTS_CLASSES"):
        init_detector(config(), path)
    named = config("MODEL.WEIGHTS_CLASSES", ["a", "b"])
    assert init_detector(named, path).class_names == ("__background__", "a", "b")
    assert init_detector(named, checkpoint).class_names == ("__background__", "a", "b")


@pytest.mark.parametrize("name", ["ssd300.pt", "checkpoint_ssd300.pth.tar", "MODEL.PTH"])
def test_names_of_checkpoints(tmp_path: Path, checkpoint: Path, name: str) -> None:
    assert init_detector(checkpoint.rename(tmp_path / name), device="cpu").class_names == tuple(CLASS_NAMES)


def test_mistakes_of_the_arguments(tmp_path: Path, checkpoint: Path, yaml_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"small\.yml' .*small\.yaml"):
        init_detector(tmp_path / "small.yml", checkpoint)
    with pytest.raises(CheckpointError, match=r"model_fina\.pth' .*model_final\.pth"):
        init_detector(tmp_path / "model_fina.pth")
    with pytest.raises(CheckpointError, match=r"gone\.pth' does not exist"):
        init_detector(yaml_file, tmp_path / "gone.pth")
    with pytest.raises(ConfigError, match=r"model_final\.pth' .*model_final\.pth'"):
        init_detector(checkpoint, checkpoint)
    with pytest.raises(CheckpointError, match="OUTPUT_DIR"):
        init_detector(yaml_file)
    bare = make_checkpoint(tmp_path / "bare.pth", config(), class_names=CLASS_NAMES)
    with pytest.raises(CheckpointError, match=r"bare\.pth .*config"):
        init_detector(bare)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {NECK: fpn}", r"config in .*old\.pth: .*MODEL\.NECK"),
        ("INPUT: {IMAGE_SIZE: 0}", r"INPUT\.IMAGE_SIZE"),
        ("{", "YAML"),
        ("- 300", "list"),
        ("_BASE_: vgg_ssd300_voc0712.yaml", "_BASE_"),
        ("MODEL: {DEVICE: !!python/object/apply:os.mkdir [was_executed]}", "YAML"),
    ],
)
def test_a_wrong_config_in_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = make_checkpoint(tmp_path / "old.pth", config(), config=text, class_names=CLASS_NAMES)
    with pytest.raises(ConfigError, match=message):
        init_detector(path)
    assert not Path("was_executed").exists()


def test_weights_that_do_not_fit(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.NUM_CLASSES is 21, .* 3 classes"):
        init_detector(config("MODEL.NUM_CLASSES", 21), checkpoint)
    with pytest.raises(CheckpointError, match=r"model_final\.pth does not fit"):
        init_detector(config("MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4), checkpoint)
    model = build_detection_model(config())
    write_checkpoint(tmp_path / "backbone.pth", {"model": model.backbone.state_dict()})
    with pytest.raises(CheckpointError, match=r"backbone\.pth"):
        init_detector(config(), tmp_path / "backbone.pth")


def test_one_image_of_every_kind(detector: Predictor, picture: Path) -> None:
    pixels = read_image(picture)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    images = [str(picture), picture, pixels, Image.open(picture), picture.read_bytes(), tensor, tensor / 255]
    first, *others = [inference_detector(detector, image) for image in images]
    assert isinstance(first, Detections)
    assert all(same(first, other) for other in (*others, detector(pixels)))


def test_lists_and_batches_give_lists(detector: Predictor, picture: Path) -> None:
    pixels = read_image(picture)
    single = inference_detector(detector, picture)
    assert inference_detector(detector, []) == []
    batch = torch.from_numpy(pixels).permute(2, 0, 1).expand(3, -1, -1, -1)
    for images in ([picture], (str(picture), pixels), batch):
        results = inference_detector(detector, images)
        assert isinstance(results, list)
        assert len(results) == len(images)
        for found in results:  # batches of another size round otherwise
            assert found.labels.tolist() == single.labels.tolist()
            np.testing.assert_allclose(found.scores, single.scores, rtol=1e-4)
            np.testing.assert_allclose(found.boxes, single.boxes, atol=1e-2)


def test_sources_of_many_images_are_for_predict(detector: Predictor, picture: Path) -> None:
    for images in (str(picture.parent), f"{picture.parent}/*.png", (path for path in [picture])):
        with pytest.raises(ImageError, match=r"detector\.predict\("):
            inference_detector(detector, images)
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        inference_detector(detector, "gone.jpg")
