from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ssd
from ssd.config import Config, load_config
from ssd.data import build_datasets, make_batch_transform, make_test_loader
from ssd.engine.inference import detect
from ssd.inference.api import inference_detector, init_detector
from ssd.inference.detections import Detections
from ssd.inference.predictor import DEFAULT_SCORE_THRESHOLD, Predictor
from ssd.modeling.detector import build_detection_model
from ssd.utils.checkpoint_file import write_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError, DeviceError, ImageError
from ssd.utils.image import read_image, write_image
from ssd.weights.trained import build_trained_model, read_trained
from tests.deploy.detectors import make_small_config

CLASS_NAMES = ["__background__", "red", "white"]
THRESHOLDS = [0.5, 0.001, 0.001]  # the first, of all classes, is not used


def config(*overrides: object) -> Config:
    return make_small_config("TEST.CONFIDENCE_THRESHOLD", 0.001, "MODEL.NUM_CLASSES", 3, *overrides)


def make_checkpoint(path: Path, cfg: Config, **values: object) -> Path:
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
    values = {"config": cfg.dump(), "class_names": CLASS_NAMES, "score_thresholds": THRESHOLDS, "iteration": 7}
    return make_checkpoint(tmp_path / "model_final.pth", cfg, **values)


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


def test_a_checkpoint_alone_a_file_and_a_config_agree(checkpoint, yaml_file, picture, tmp_path):
    cfg = config("OUTPUT_DIR", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last_checkpoint.txt").write_text(str(checkpoint))
    before = cfg.dump()
    texts = (str(yaml_file), str(checkpoint), "cpu")
    arguments = [(checkpoint,), texts[1:2], (yaml_file, checkpoint), texts, (cfg, checkpoint), (cfg,), texts[:1]]
    detectors = [ssd.init_detector(*words) for words in arguments]
    assert cfg.dump() == before
    first, *others = [inference_detector(detector, picture) for detector in detectors]
    assert first.class_names == tuple(CLASS_NAMES)
    assert first.orig_size == (70, 50)
    assert first.scores.min() > 0.001
    assert all(same(first, other) for other in others)


def test_thresholds_of_a_checkpoint(checkpoint: Path, picture: Path, tmp_path: Path) -> None:
    (everything,) = init_detector(checkpoint).predict(picture, score_threshold=0.0)
    middle = float(np.median(everything.scores))
    values = {"config": config().dump(), "class_names": CLASS_NAMES}
    path = make_checkpoint(tmp_path / "own.pth", config(), **values, score_thresholds=[0.0, middle, 0.9])
    expected = (everything.scores > middle) & (everything.labels == 1) | (everything.scores > 0.9)
    assert inference_detector(init_detector(path), picture).boxes.tolist() == everything.boxes[expected].tolist()
    for damaged in (None, 0.3, [0.3], [0.3, "a", 0.3]):
        without = make_checkpoint(tmp_path / "without.pth", config(), **values, score_thresholds=damaged)
        assert init_detector(without).score_threshold == DEFAULT_SCORE_THRESHOLD


def test_it_detects_what_an_evaluation_detects(config_file: Path, tmp_path: Path) -> None:
    """JPEG files of a test set, in batches of another size."""
    cfg = load_config(config_file, ["TEST.CONFIDENCE_THRESHOLD", 0.001, "TEST.BATCH_SIZE", 3])
    (dataset,) = build_datasets(cfg, is_train=False)
    sized = cfg.with_overrides(["MODEL.NUM_CLASSES", len(dataset.class_names)])
    names = list(dataset.class_names)
    path = make_checkpoint(
        tmp_path / "model.pth", sized, config=cfg.dump(), class_names=names, score_thresholds=[0.0] * len(names)
    )

    model = build_trained_model(cfg, read_trained(cfg, str(path)), dataset.class_names, torch.device("cpu"))
    expected, _ = detect(model, make_test_loader(cfg, dataset), make_batch_transform(cfg, is_train=False))
    paths = [dataset.image_path(row) for row in range(len(dataset))]
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
    path = make_checkpoint(
        tmp_path / "model.pth", cfg, config=cfg.dump(), class_names=CLASS_NAMES, score_thresholds=THRESHOLDS
    )
    assert len(inference_detector(init_detector(path), picture)) > 0
    for device in ("cuda:0", "gpu"):
        with pytest.raises(DeviceError, match=f"'{device}'"):
            init_detector(path, device=device)


@pytest.mark.parametrize("override", [("MODEL.BACKBONE.PRETRAINED", "gone.pth"), ("MODEL.NUM_CLASSES", 0)])
def test_pretrained_weights_and_datasets_are_not_needed(tmp_path: Path, override: tuple[str, object]) -> None:
    path = tmp_path / "model.pth"
    make_checkpoint(
        path, config(), config=config(*override).dump(), class_names=CLASS_NAMES, score_thresholds=THRESHOLDS
    )
    assert init_detector(path).class_names == tuple(CLASS_NAMES)


@pytest.mark.parametrize("name", ["ssd300.pt", "checkpoint_ssd300.pth.tar", "MODEL.PTH"])
def test_names_of_checkpoints(tmp_path: Path, checkpoint: Path, name: str) -> None:
    assert init_detector(checkpoint.rename(tmp_path / name)).class_names == tuple(CLASS_NAMES)


def test_mistakes_of_the_arguments(tmp_path: Path, checkpoint: Path, yaml_file: Path) -> None:
    bare = make_checkpoint(tmp_path / "bare.pth", config(), class_names=CLASS_NAMES, score_thresholds=THRESHOLDS)
    backbone = tmp_path / "backbone.pth"
    write_checkpoint(backbone, {"model": build_detection_model(config()).backbone.state_dict()})
    other_priors = config("MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4)
    for arguments, error, message in (
        ((tmp_path / "small.yml", checkpoint), ConfigError, r"small\.yml' .*small\.yaml"),
        ((tmp_path / "model_fina.pth",), CheckpointError, r"model_fina\.pth' .*model_final\.pth"),
        ((yaml_file, tmp_path / "gone.pth"), CheckpointError, r"gone\.pth' does not exist"),
        ((checkpoint, checkpoint), ConfigError, r"model_final\.pth' .*model_final\.pth'"),
        ((yaml_file,), CheckpointError, "OUTPUT_DIR"),
        ((bare,), CheckpointError, r"bare\.pth .*config"),
        ((config("MODEL.NUM_CLASSES", 21), checkpoint), ConfigError, r"MODEL\.NUM_CLASSES is 21, .* 3 classes"),
        ((other_priors, checkpoint), CheckpointError, r"model_final\.pth does not fit"),
        ((config(), backbone), CheckpointError, r"backbone\.pth"),
    ):
        with pytest.raises(error, match=message):
            init_detector(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {NECK: fpn}", r"config in .*old\.pth: .*MODEL\.NECK"),
        ("{", "YAML"),
        ("_BASE_: vgg_ssd300_voc0712.yaml", "_BASE_"),
        ("MODEL: {DEVICE: !!python/object/apply:os.mkdir [was_executed]}", "YAML"),
    ],
)
def test_a_wrong_config_in_a_checkpoint(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = make_checkpoint(
        tmp_path / "old.pth", config(), config=text, class_names=CLASS_NAMES, score_thresholds=THRESHOLDS
    )
    with pytest.raises(ConfigError, match=message):
        init_detector(path)
    assert not Path("was_executed").exists()


def test_one_image_of_every_kind(detector: Predictor, picture: Path) -> None:
    pixels = read_image(picture)
    images = [str(picture), picture, pixels, Image.open(picture), torch.from_numpy(pixels).permute(2, 0, 1)]
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
            np.testing.assert_allclose(found.scores, single.scores, rtol=1e-4)
            np.testing.assert_allclose(found.boxes, single.boxes, atol=1e-2)


def test_sources_of_many_images_are_for_predict(detector: Predictor, picture: Path) -> None:
    for images in (str(picture.parent), f"{picture.parent}/*.png", (path for path in [picture])):
        with pytest.raises(ImageError, match=r"use predict\("):
            inference_detector(detector, images)
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        inference_detector(detector, "gone.jpg")
