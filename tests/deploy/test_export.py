"""Exported files find what the detector finds; they are complete, and have no paths of this machine."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.deploy import Metadata, OnnxNetwork, export_onnx, export_program, make_metadata, read_metadata
from ssd.modeling.detector import SSDDetector
from ssd.utils.errors import ExportError, MissingPackageError, OutputError
from tests.deploy.detectors import NAMES, ROOT, assert_same, detect, make_batch, make_detector, normalize
from tests.shipped_configs import CONFIGS, load_shipped

logger = logging.getLogger(__name__)


def check_batches(path: Path, config: Config, model: SSDDetector) -> None:
    """Compare the detections of a file and its detector in one image, then in five."""
    network, images = OnnxNetwork(path, num_threads=1), make_batch(config, 6)
    expected = detect(config, model, images)
    assert_same(config, network(images[:1]), expected[:1])
    box, score = assert_same(config, network(images[1:]), expected[1:], least=10)
    assert box < 1e-2
    assert score < 1e-4


def test_onnx_of_vgg(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """For five classes and a small input; the export prints nothing and logs no warnings."""
    overrides = [
        *("MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", len(NAMES), "INPUT.IMAGE_SIZE", 160),
        *("MODEL.PRIORS.FEATURE_MAPS", [], "MODEL.PRIORS.STRIDES", [], "MODEL.PRIORS.BOXES_PER_LOCATION", []),
        *("MODEL.PRIORS.MIN_SIZES", [16, 32, 60, 85, 110], "MODEL.BACKBONE.OUT_CHANNELS", ()),
        *("MODEL.PRIORS.MAX_SIZES", [32, 60, 85, 110, 140], "MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 5),
    ]
    config = load_config(ROOT / "configs" / "vgg_ssd300_voc0712.yaml", overrides)
    model = make_detector(config)
    path = tmp_path / "new folder" / "model.onnx"
    assert export_onnx(model, path, make_metadata(config, model, NAMES)) == path
    assert capfd.readouterr() == ("", "")
    assert {record.name for record in caplog.records if record.levelno >= logging.WARNING} == set()
    check_batches(path, config, model)


@pytest.mark.slow
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "raw"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config(path: Path, complete: bool, tmp_path: Path) -> None:
    """In ten images; ``--log-cli-level INFO`` shows the differences."""
    config = load_shipped(path)
    config.freeze()
    model = make_detector(config)
    names = ["__background__", *(f"class {label}" for label in range(1, config.MODEL.NUM_CLASSES))]
    file = export_onnx(model, tmp_path / "model.onnx", make_metadata(config, model, names), complete=complete)
    network = OnnxNetwork(file)
    file.unlink()  # up to 150 MB, and pytest keeps its folders

    images = make_batch(config, 10)
    expected = [found for part in images.split(5) for found in detect(config, model, part)]
    in_batches = [found for part in images.split(5) for found in network(part)]
    alone = [found for image in images for found in network(image[None])]
    differences = [assert_same(config, found, expected, least=10) for found in (in_batches, alone)]
    box, score = np.max(differences, axis=0)
    num_detections = sum(len(image["scores"]) for image in expected)
    logger.info("%s: boxes within %.1e px, scores %.1e, %d detections", path.stem, box, score, num_detections)


def double_height(images: Tensor) -> Tensor:
    """Return images (B, H, W, 3); resizing by a half takes the mean of equal pixels."""
    return images.permute(0, 2, 3, 1).repeat_interleave(2, dim=1)


def test_onnx_takes_images_of_any_size(exported: Path, small_config: Config, small_detector: SSDDetector) -> None:
    images = make_batch(small_config, 3)
    network = OnnxNetwork(exported / "complete.onnx")
    boxes, scores, labels, counts = network.run(double_height(images).numpy())
    for image, expected in enumerate(detect(small_config, small_detector, images)):
        count = counts[image]
        assert count == len(expected["scores"]) >= 10
        np.testing.assert_allclose(boxes[image, :count] / [1, 2, 1, 2], expected["boxes"], atol=0.1)
        np.testing.assert_allclose(scores[image, :count], expected["scores"], atol=1e-3)
        assert labels[image, :count].tolist() == expected["labels"].tolist()
    for size in ((1, 1), (7, 400)):
        boxes, scores, labels, _ = network.run(np.full((2, *size, 3), 128, np.uint8))
        assert (boxes.shape, scores.shape, labels.shape) == ((2, 100, 4), (2, 100), (2, 100))


@pytest.fixture(scope="session")
def sparse_images(small_config: Config, small_detector: SSDDetector) -> dict[int, Tensor]:
    """Images in which the small detector finds no object, one, and many, by fading one into the mean colour."""
    mean = torch.tensor(small_config.INPUT.PIXEL_MEAN)[:, None, None]
    strength = torch.linspace(0, 1, 100)[:, None, None, None]
    faded = (mean + strength * (make_batch(small_config, 1) - mean)).round().to(torch.uint8)
    counts = [len(found["scores"]) for found in detect(small_config, small_detector, faded)]
    return {count: faded[counts.index(count)][None] for count in (0, 1, 100)}


def test_few_or_no_objects(exported, small_config, small_detector, sparse_images):
    """Also in a whole batch, for which torchvision declares that NMS keeps at least two boxes."""
    network = OnnxNetwork(exported / "complete.onnx")
    images = torch.cat([sparse_images[count] for count in (0, 100, 1)])
    assert_same(small_config, network(images), detect(small_config, small_detector, images))
    program = torch.export.load(exported / "complete.pt2").module()
    for count, image in sparse_images.items():
        assert len(network(image)[0]["scores"]) == count
        assert program(image.permute(0, 2, 3, 1))[3].tolist() == [count]


def test_contents_of_the_files(exported: Path) -> None:
    """No temporary files, no second file of weights, no paths of this machine; a program has no side-car."""
    names = [f"{kind}.{suffix}" for kind in ("complete", "raw") for suffix in ("json", "onnx", "pt2")]
    assert sorted(path.name for path in exported.iterdir()) == names
    for path in exported.iterdir():
        content = path.read_bytes()
        assert str(ROOT).encode() not in content, path.name
        assert b"site-packages" not in content, path.name
    assert read_metadata(exported / "raw.onnx").kind == "raw"


def test_onnx_is_valid_and_names_its_dimensions(exported: Path) -> None:
    onnx = pytest.importorskip("onnx")
    shapes = {}
    for name in ("complete.onnx", "raw.onnx"):
        model = onnx.load(exported / name)
        onnx.checker.check_model(model, full_check=True)
        for value in [*model.graph.input, *model.graph.output]:
            sides = value.type.tensor_type.shape.dim
            shapes[name, value.name] = [side.dim_param or side.dim_value for side in sides]
    num_priors = len(read_metadata(exported / "complete.onnx").priors)
    assert shapes == {
        ("complete.onnx", "images"): ["batch", "height", "width", 3],
        ("complete.onnx", "boxes"): ["batch", 100, 4],
        ("complete.onnx", "scores"): ["batch", 100],
        ("complete.onnx", "labels"): ["batch", 100],
        ("complete.onnx", "counts"): ["batch"],
        ("raw.onnx", "images"): ["batch", 3, 96, 128],
        ("raw.onnx", "cls_logits"): ["batch", num_priors, 5],
        ("raw.onnx", "bbox_pred"): ["batch", num_priors, 4],
    }


RUN_PROGRAMS = """
import json, sys
import torch, torchvision
exported, folder = sys.argv[1:]
outputs = {}
for kind, batches in torch.load(f"{folder}/inputs.pt").items():
    extra = {"metadata.json": ""}
    program = torch.export.load(f"{exported}/{kind}.pt2", extra_files=extra).module()
    assert json.loads(extra["metadata.json"])["kind"] == kind
    outputs[kind] = [program(images) for images in batches]
torch.save(outputs, f"{folder}/outputs.pt")
assert "ssd" not in sys.modules
"""


def test_programs_need_torch_and_torchvision_alone(exported, small_config, small_detector, tmp_path):
    images = make_batch(small_config, 3)
    inputs = {
        "complete": [images.permute(0, 2, 3, 1)[:1], images.permute(0, 2, 3, 1), double_height(images)],
        "raw": [normalize(small_config, images[:1]), normalize(small_config, images)],
    }
    torch.save(inputs, tmp_path / "inputs.pt")
    command = [sys.executable, "-c", RUN_PROGRAMS, str(exported), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    outputs = torch.load(tmp_path / "outputs.pt")

    for found, pixels in zip(outputs["raw"], inputs["raw"], strict=True):
        with torch.no_grad():
            torch.testing.assert_close(found, tuple(small_detector.predict(pixels)))
    for found, pixels in zip(outputs["complete"][:2], (images[:1], images), strict=True):
        for image, expected in enumerate(detect(small_config, small_detector, pixels)):
            count = int(found[3][image])
            assert count == len(expected["scores"]) > 0
            torch.testing.assert_close(found[0][image, :count], expected["boxes"], rtol=0, atol=1e-3)
            assert torch.equal(found[2][image, :count], expected["labels"])
    twice = outputs["complete"][1][0] * torch.tensor([1, 2, 1, 2])
    torch.testing.assert_close(outputs["complete"][2][0], twice, rtol=0, atol=1e-2)


def test_the_model_is_not_changed(tmp_path: Path, small_config: Config, metadata: Metadata) -> None:
    model = make_detector(small_config).train().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_program(model, tmp_path / "model.pt2", metadata, complete=False)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("write", [export_onnx, export_program])
def test_errors(write, tmp_path, small_config, small_detector, metadata):
    """Metadata of another model, and a path that cannot be written."""
    other = make_metadata(small_config, small_detector, NAMES[:-1])
    with pytest.raises(ExportError, match="4 classes"):
        write(small_detector, tmp_path / "model", other)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="model"):
        write(small_detector, tmp_path / "file" / "model", metadata)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package(package, tmp_path, small_detector, metadata, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package} .*\[onnx\]"):
        export_onnx(small_detector, tmp_path / "model.onnx", metadata)


def test_a_failed_export_keeps_the_old_file(tmp_path, small_detector, metadata, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "model.pt2").write_text("old")
    monkeypatch.setattr(torch.export, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        export_program(small_detector, tmp_path / "model.pt2", metadata, complete=False)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_text() == "old"
