"""Which kind of checkpoint a file is, by the names of its tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.formats.reading import CheckpointContent
from ssd.weights.formats.source import Converted, Source, rename, required
from ssd.weights.formats.sources import SOURCES, convert, find_source

LISTINGS = sorted((Path(__file__).parents[2] / "goldens" / "statedicts").glob("*.json"))


def checkpoint(*names: str) -> CheckpointContent:
    return CheckpointContent("file.pth", {name: torch.zeros(1) for name in names}, {})


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda path: path.stem)
def test_each_file_is_of_one_kind(listing: Path) -> None:
    names = list(json.loads(listing.read_text())["state_dict"])
    (source,) = [source for source in SOURCES if source.recognises(names)]
    assert listing.stem.partition("_")[0] in f"{source.name} {source.title}".casefold()
    assert find_source(checkpoint(*names)) is source
    assert find_source(checkpoint(*names), source.name) is source


def test_there_is_a_listing_of_every_kind() -> None:
    listings = [list(json.loads(listing.read_text())["state_dict"]) for listing in LISTINGS]
    for source in SOURCES:
        assert any(source.recognises(names) for names in listings), source.name


def test_names_are_unique() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)


def test_nobodys() -> None:
    message = (
        r"file\.pth is of no kind that is known: its 4 tensors are named a, b, c, \.\.\.\. The weights .*PRETRAINED;"
        r".* The kinds are lufficc, amdegroot,"
    )
    with pytest.raises(CheckpointError, match=message):
        find_source(checkpoint("a", "b", "c", "d"))


def test_the_nearest_kind_is_named() -> None:
    message = (
        r"It is most like torchvision, but has no tensors named like backbone\.scale_weight\. The weights of a backbone"
    )
    with pytest.raises(CheckpointError, match=message):
        find_source(checkpoint("backbone.body.conv1.weight", "head.classification_head.module_list.0.weight"))


def test_another_kind_than_was_named() -> None:
    names = json.loads((LISTINGS[0]).read_text())["state_dict"]
    with pytest.raises(CheckpointError, match=r"file\.pth is not of .*: no tensor of it is named like .* looks like"):
        find_source(checkpoint(*names), "sgrvinod")
    with pytest.raises(CheckpointError, match="looks like nothing that is known; its 1 tensors are named a"):
        find_source(checkpoint("a"), "sgrvinod")
    with pytest.raises(ConfigError, match="no kind of checkpoint 'caffe'; there are lufficc, amdegroot"):
        find_source(checkpoint("a"), "caffe")


def test_what_is_unexpected_or_missing_is_named() -> None:
    weights = {f"old.{index}": torch.zeros(1) for index in range(9)} | {"kept": torch.ones(1), "dead": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"^unexpected tensors: old\.0, .*, old\.4 and 4 more$"):
        rename(weights, [(r"kept", "new")], dropped=["dead"])
    renamed = rename(weights, [(r"old\.(\d)", r"new.\1"), (r".*", "other")], dropped=["dead"])
    assert list(renamed) == [*(f"new.{index}" for index in range(9)), "other"]
    with pytest.raises(CheckpointError, match="missing tensor: gone"):
        required(weights, "gone")


def test_weights_are_converted_in_float32() -> None:
    half = CheckpointContent("half.pt", {"a": torch.ones(2).half(), "count": torch.tensor(3)}, {})
    source = Source("some", "Some SSD", ("a",), lambda weights, content: Converted(weights, "some"))
    assert {name: value.dtype for name, value in convert(half, source).weights.items()} == {
        "a": torch.float32,
        "count": torch.int64,
    }


def test_an_error_of_a_converter_tells_the_file_and_its_kind() -> None:
    def refuse(weights: Mapping[str, Any], content: Mapping[str, Any]) -> Converted:
        raise CheckpointError("missing tensor: x")

    source = Source("some", "Some SSD", ("a",), refuse)
    message = r"file\.pth was recognised as Some SSD, but cannot be converted: missing tensor: x\. .* fetch it again"
    with pytest.raises(CheckpointError, match=message):
        convert(checkpoint("a"), source)
