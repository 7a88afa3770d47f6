"""What is exported finds what the detector finds; files are whole, self-contained and tell nothing of this machine."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.deploy import OnnxNetwork, export_onnx, export_program, make_metadata, read_metadata, side_car
from ssd.deploy.export import _check_size
from ssd.structures import Container
from ssd.utils.errors import ExportError, MissingPackageError, OutputError

NAMES = ("__background__", "a", "b", "c", "d")
ROOT = Path(__file__).parents[2]

MakeDetector = Callable[[Config], nn.Module]
MakeBatch = Callable[[Config, int], Tensor]
Detect = Callable[[Config, nn.Module, Tensor], list[Container]]
CheckSame = Callable[..., tuple[float, float]]
CheckBatches = Callable[[Path, Config, nn.Module], None]


def small_input(name: str) -> Config:
    """A shipped config for five classes and an input that is quick."""
    size = 160
    levels = {"vgg_ssd300_voc0712": 5, "mobilenet_v2_ssd320_voc0712": 6}[name]
    overrides = [
        *("MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", 5, "INPUT.IMAGE_SIZE", size),
        *("MODEL.PRIORS.FEATURE_MAPS", [], "MODEL.PRIORS.STRIDES", [], "MODEL.PRIORS.BOXES_PER_LOCATION", []),
        *("MODEL.PRIORS.MIN_SIZES", [16, 32, 60, 85, 110, 140][:levels], "MODEL.BACKBONE.OUT_CHANNELS", ()),
        *("MODEL.PRIORS.MAX_SIZES", [32, 60, 85, 110, 140, 165][:levels]),
        *("MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * levels),
    ]
    return load_config(ROOT / "configs" / f"{name}.yaml", overrides)


@pytest.fixture
def check_batches(make_batch: MakeBatch, detect: Detect, check_same: CheckSame) -> CheckBatches:
    """A function that compares what a file and its detector find in one image, then in five."""

    def check(path: Path, config: Config, model: nn.Module) -> None:
        network, images = OnnxNetwork(path, num_threads=1), make_batch(config, 6)
        expected = detect(config, model, images)
        check_same(config, network(images[:1]), expected[:1])
        box, score = check_same(config, network(images[1:]), expected[1:], least=10)
        assert box < 1e-2
        assert score < 1e-4

    return check


@pytest.mark.parametrize(("name", "complete"), [("mobilenet_v2_ssd320_voc0712", True), ("vgg_ssd300_voc0712", False)])
def test_onnx_finds_what_torch_finds(
    name: str,
    complete: bool,
    tmp_path: Path,
    make_detector: MakeDetector,
    check_batches: CheckBatches,
) -> None:
    config = small_input(name)
    model = make_detector(config)
    path = export_onnx(model, tmp_path / "model.onnx", make_metadata(config, model, NAMES), complete=complete)
    check_batches(path, config, model)


@pytest.mark.parametrize("kind", ["complete", "raw"])
def test_onnx_of_the_small_detector(
    kind: str,
    exported: Path,
    small_config: Config,
    small_detector: nn.Module,
    check_batches: CheckBatches,
) -> None:
    check_batches(exported / f"{kind}.onnx", small_config, small_detector)


def test_onnx_takes_images_of_any_size(
    exported: Path,
    small_config: Config,
    small_detector: nn.Module,
    make_batch: MakeBatch,
    detect: Detect,
    check_same: CheckSame,
) -> None:
    images = make_batch(small_config, 3)
    larger = images.permute(0, 2, 3, 1).repeat_interleave(2, dim=1)  # resizing by a half takes the mean of equal pixels
    network = OnnxNetwork(exported / "complete.onnx")
    found = network._split(*network.run(larger.numpy()))
    for image in found:
        image["boxes"] = image["boxes"] / torch.tensor([1, 2, 1, 2])
    check_same(small_config, found, detect(small_config, small_detector, images), least=10)
    for size in ((1, 1), (7, 400)):
        boxes, scores, labels, _ = network.run(np.full((2, *size, 3), 128, np.uint8))
        assert (boxes.shape, scores.shape, labels.shape) == ((2, 100, 4), (2, 100), (2, 100))


def test_onnx_may_find_nothing_in_some_images(
    tmp_path: Path,
    with_options: Callable[..., Config],
    small_config: Config,
    small_detector: nn.Module,
    make_batch: MakeBatch,
    detect: Detect,
    check_same: CheckSame,
) -> None:
    images = make_batch(small_config, 4)
    best = sorted(found["scores"][0].item() for found in detect(small_config, small_detector, images))
    config = with_options("TEST.CONFIDENCE_THRESHOLD", (best[1] + best[2]) / 2)
    metadata = make_metadata(config, small_detector, NAMES)
    network = OnnxNetwork(export_onnx(small_detector, tmp_path / "new folder" / "model.onnx", metadata))
    expected = [
        Container(**{name: found[name][found["scores"] > metadata.score_threshold] for name in found})
        for found in detect(small_config, small_detector, images)
    ]
    for image in expected:
        image.img_height, image.img_width = metadata.image_size
    assert sorted(len(image["scores"]) > 0 for image in expected) == [False, False, True, True]
    check_same(config, network(images), expected)
    for image, found in zip(images, expected, strict=True):
        assert len(network(image[None])[0]["scores"]) == len(found["scores"])


def test_only_we_speak_while_exporting(
    tmp_path: Path,
    small_config: Config,
    small_detector: nn.Module,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    export_onnx(small_detector, tmp_path / "model.onnx", make_metadata(small_config, small_detector, NAMES))
    assert capfd.readouterr() == ("", "")
    assert {record.name for record in caplog.records if record.levelno >= logging.WARNING} == set()


def test_files_are_what_they_should_be(exported: Path) -> None:
    """No temporary files, no second file of weights, no paths of this machine; a program has no side-car."""
    names = [f"{kind}.{suffix}" for kind in ("complete", "raw") for suffix in ("json", "onnx", "pt2")]
    assert sorted(path.name for path in exported.iterdir()) == names
    for path in exported.iterdir():
        content = path.read_bytes()
        assert str(ROOT).encode() not in content, path.name
        assert b"site-packages" not in content, path.name
    assert read_metadata(exported / "raw.onnx").kind == "raw"


def test_onnx_is_sound_and_names_its_dimensions(exported: Path) -> None:
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


def test_programs_need_torch_and_torchvision_alone(
    exported: Path,
    small_config: Config,
    small_detector: nn.Module,
    make_batch: MakeBatch,
    detect: Detect,
    tmp_path: Path,
) -> None:
    images = make_batch(small_config, 3)
    transform = make_batch_transform(small_config, is_train=False)
    nothing = torch.zeros(1, 96, 128, 3, dtype=torch.uint8)
    larger = images.permute(0, 2, 3, 1).repeat_interleave(2, dim=1)
    inputs = {
        "complete": [images.permute(0, 2, 3, 1)[:1], images.permute(0, 2, 3, 1), larger, nothing],
        "raw": [transform(images[:1]), transform(images)],
    }
    torch.save(inputs, tmp_path / "inputs.pt")
    command = [sys.executable, "-c", RUN_PROGRAMS, str(exported), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    outputs = torch.load(tmp_path / "outputs.pt")

    small_detector.eval()
    for found, pixels in zip(outputs["raw"], inputs["raw"], strict=True):
        with torch.no_grad():
            expected = small_detector.box_head.predictor(small_detector.backbone(pixels))
        torch.testing.assert_close(found, expected)
    for found, pixels in zip(outputs["complete"][:2], (images[:1], images), strict=True):
        for image, expected in enumerate(detect(small_config, small_detector, pixels)):
            count = int(found[3][image])
            assert count == len(expected["scores"]) > 0
            torch.testing.assert_close(found[0][image, :count], expected["boxes"], rtol=0, atol=1e-3)
            assert torch.equal(found[2][image, :count], expected["labels"])
    twice = outputs["complete"][1][0] * torch.tensor([1, 2, 1, 2])
    torch.testing.assert_close(outputs["complete"][2][0], twice, rtol=0, atol=1e-2)


def test_programs_may_find_nothing_or_one_object(
    tmp_path: Path,
    with_options: Callable[..., Config],
    small_config: Config,
    small_detector: nn.Module,
    make_batch: MakeBatch,
    detect: Detect,
) -> None:
    """torchvision declares that NMS keeps two boxes at least."""
    images = make_batch(small_config, 1)
    (found,) = detect(small_config, small_detector, images)
    best, second = found["scores"][:2].tolist()
    for count, threshold in ((0, (1 + best) / 2), (1, (best + second) / 2)):
        config = with_options("TEST.CONFIDENCE_THRESHOLD", threshold)
        path = export_program(small_detector, tmp_path / "model.pt2", make_metadata(config, small_detector, NAMES))
        outputs = torch.export.load(path).module()(images.permute(0, 2, 3, 1))
        assert outputs[3].tolist() == [count]


def test_the_model_stays_as_it_was(tmp_path: Path, small_config: Config, make_detector: MakeDetector) -> None:
    model = make_detector(small_config).train().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_program(model, tmp_path / "model.pt2", make_metadata(small_config, model, NAMES), complete=False)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("write", [export_onnx, export_program])
def test_metadata_of_another_model_is_refused(
    write: Callable[..., Path], tmp_path: Path, small_config: Config, small_detector: nn.Module
) -> None:
    metadata = make_metadata(small_config, small_detector, NAMES[:-1])
    with pytest.raises(ExportError, match=r"priors and 4 classes .* must predict \[\(2, .*, 4\), .* but predicts"):
        write(small_detector, tmp_path / "model", metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_packages_name_their_extra(
    package: str, tmp_path: Path, small_config: Config, small_detector: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package} cannot be imported.*pip install -e '\.\[onnx\]'"):
        export_onnx(small_detector, tmp_path / "model.onnx", make_metadata(small_config, small_detector, NAMES))


@pytest.mark.parametrize("write", [export_onnx, export_program])
def test_a_place_where_nothing_can_be_written(
    write: Callable[..., Path], tmp_path: Path, small_config: Config, small_detector: nn.Module
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"model.*cannot be written"):
        write(small_detector, tmp_path / "file" / "model", make_metadata(small_config, small_detector, NAMES))


def test_a_failed_export_leaves_the_old_file(
    tmp_path: Path, small_config: Config, small_detector: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "model.pt2").write_text("old")
    monkeypatch.setattr(torch.export, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        export_program(small_detector, tmp_path / "model.pt2", make_metadata(small_config, small_detector, NAMES))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_text() == "old"


def test_too_many_weights_for_one_file() -> None:
    with torch.device("meta"):
        large = nn.Linear(2**15, 2**14)
    with pytest.raises(ExportError, match=r"2\.1 GB.*ONNX"):
        _check_size(large)
    _check_size(nn.Linear(2, 2))


def test_the_side_car_speaks_to_people(exported: Path) -> None:
    document = json.loads(side_car(exported / "complete.onnx").read_text())
    assert (
        document["input"] == "images: uint8 (batch, height, width, 3), RGB, of any size; stretched to 96 x 128 inside"
    )
    assert list(document["outputs"]) == ["boxes", "scores", "labels", "counts"]
    assert list(json.loads(side_car(exported / "raw.onnx").read_text())["outputs"]) == ["cls_logits", "bbox_pred"]
