"""The side-car: what goes in comes out, and whatever is wrong with it is named."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from ssd.deploy import Metadata, make_metadata, read_metadata, side_car, write_metadata
from ssd.deploy.metadata import parse_metadata, to_json
from ssd.utils.errors import ExportError
from tests.deploy.detectors import NAMES, make_small_config


@pytest.fixture
def exported(metadata: Metadata, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a network")
    write_metadata(replace(metadata, class_names=(*NAMES[:-1], "Straße")), path)
    return path


def test_values_of_the_config(small_detector) -> None:
    config = make_small_config("TEST.MAX_PER_CLASS", 7, "TEST.CLIP_BOXES", True, "TEST.NMS_THRESHOLD", 0.6)
    thresholds = tuple(0.1 * label for label in range(len(NAMES)))
    metadata = make_metadata(config, small_detector, NAMES, thresholds)
    assert metadata.score_thresholds == thresholds
    assert metadata.image_size == (96, 128)
    assert (metadata.pixel_mean, metadata.pixel_std) == ((123.0, 117.0, 104.0), (58.0, 57.0, 57.0))
    assert (metadata.max_per_class, metadata.max_per_image, metadata.clip_boxes) == (7, 100, True)
    assert (metadata.score_threshold, metadata.nms_threshold) == (0.01, 0.6)
    assert (metadata.center_variance, metadata.size_variance) == (0.1, 0.2)
    assert torch.equal(torch.tensor(metadata.priors), small_detector.box_head.priors)


def test_a_round_trip(metadata: Metadata, exported: Path) -> None:
    found = read_metadata(str(exported))
    assert found == replace(metadata, class_names=(*NAMES[:-1], "Straße"), sha256=found.sha256)
    assert len(found.sha256) == 64
    assert side_car(exported) == exported.with_name("model.json")
    assert len(side_car(exported).read_text().splitlines()) == len(fields(Metadata)) + 3  # a key a line


@pytest.mark.parametrize(("key", "value"), [("SOFT_NMS", 0.5), ("CLASS_AGNOSTIC_NMS", True)])
def test_another_nms_is_refused(small_detector, key: str, value: object) -> None:
    with pytest.raises(ExportError, match=rf"TEST\.{key} is {value}"):
        make_metadata(make_small_config(f"TEST.{key}", value), small_detector, NAMES)


def test_scores_of_raw_predictions(metadata: Metadata) -> None:
    document = json.loads(to_json(replace(metadata, kind="raw", score_function="sigmoid")))
    assert parse_metadata(json.dumps(document).encode(), "x.json").score_function == "sigmoid"
    del document["score_function"], document["score_thresholds"]  # as in files of version 1.0.0
    assert parse_metadata(json.dumps(document).encode(), "x.json").score_function == "softmax"


@pytest.mark.parametrize("content", [b"a network!", b"a networ", b""])
def test_another_file(content: bytes, exported: Path) -> None:
    exported.write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.json.*sha256"):
        read_metadata(exported)


@pytest.mark.parametrize("text", ["", "{", "\xff", "7", "{}", '{"format_version": 2}', '{"format_version": 1}'])
def test_another_format(text: str, exported: Path) -> None:
    side_car(exported).write_bytes(text.encode("latin-1"))
    with pytest.raises(ExportError, match=r"model\.json"):
        read_metadata(exported)
