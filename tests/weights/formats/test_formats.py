"""The format of a file, by the names of its tensors, and errors in converting it."""

import json
from pathlib import Path

import pytest
import torch

from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.foreign import convert_foreign, find_format
from ssd.weights.formats import all_formats
from ssd.weights.formats.format import rename
from ssd.weights.formats.reading import CheckpointContent
from tests.weights.formats import peers

LISTINGS = sorted((Path(__file__).parents[2] / "goldens" / "statedicts").glob("*.json"))


def checkpoint(*names: str) -> CheckpointContent:
    return CheckpointContent("file.pth", {name: torch.zeros(1) for name in names}, {})


def test_each_file_has_one_format() -> None:
    seen = set()
    for listing in LISTINGS:
        names = list(json.loads(listing.read_text())["state_dict"])
        (format,) = [format for format in all_formats().values() if format.recognises(names)]
        assert listing.stem.partition("_")[0] in f"{format.name} {format.title}".casefold()
        assert find_format(checkpoint(*names)) is format
        assert find_format(checkpoint(*names), format.name) is format
        seen.add(format.name)
    assert seen == {format.name for format in all_formats().values()}


@pytest.mark.parametrize(
    ("names", "chosen", "fact"),
    [
        ("abcd", "auto", r"file\.pth .* 4 tensors are named a, b, c and 1 more\. .*PRETRAINED.* lufficc, am"),
        (
            ("backbone.body.conv1.weight", "head.classification_head.module_list.0.weight"),
            "auto",
            r"most similar to torchvision, .* backbone\.scale_weight\.",
        ),
        ("a", "sgrvinod", "1 tensors are named a"),
        ("", "sgrvinod", r"file\.pth is not of .*sgrvinod.* rescale_factors\. .* amdegroot;"),
    ],
)
def test_errors_of_unknown_files(names, chosen: str, fact: str) -> None:
    names = names or list(json.loads(LISTINGS[0].read_text())["state_dict"])
    with pytest.raises(CheckpointError, match=fact):
        find_format(checkpoint(*names), chosen)
    with pytest.raises(ConfigError, match=r"'darknet'.* lufficc, amdegroot"):
        find_format(checkpoint("a"), "darknet")


def test_unexpected_tensors_are_named() -> None:
    weights = {f"old.{index}": torch.zeros(1) for index in range(9)} | {"kept": torch.ones(1), "dead": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"old\.0, .*, old\.4 and 4 more$"):
        rename(weights, [(r"kept", "new")], dropped=["dead"])
    renamed = rename(weights, [(r"old\.(\d)", r"new.\1"), (r".*", "other")], dropped=["dead"])
    assert list(renamed) == [*(f"new.{index}" for index in range(9)), "other"]


def test_weights_are_converted_in_float32() -> None:
    shapes = peers.read_shapes("mlperf_ssd300_resnet34_coco")
    half = {
        name: torch.ones(shape, dtype=torch.int64 if name.endswith("tracked") else torch.float16)
        for name, shape in shapes.items()
    }
    found = convert_foreign(CheckpointContent("half.pt", half, {})).weights
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}


def test_an_error_of_a_conversion_names_the_file_and_its_format() -> None:
    weights = peers.meta_weights("amdegroot_ssd300_voc")
    without = {name: value for name, value in weights.items() if name != "loc.0.bias"}
    damaged = {"strange": {**weights, "strange": torch.ones(1)}, r"reg_headers\.0\.bias": without}
    for message, content in damaged.items():
        with pytest.raises(CheckpointError, match=rf"file\.pth .*SSD300 of amdegroot.*{message}"):
            convert_foreign(CheckpointContent("file.pth", content, {}))
