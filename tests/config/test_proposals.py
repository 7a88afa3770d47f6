"""Values that messages propose are accepted, on the command line and in YAML."""

import re
import shlex

import pytest

from ssd.config import load_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets
from ssd.data.catalog import make_dataset
from ssd.engine.setup import scale_to_processes
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import ConfigError
from tests.conftest import SMALL_MODEL


def test_proposals_of_derived_values() -> None:
    small = load_config(None, [*SMALL_MODEL, "MODEL.NUM_CLASSES", 3])
    for key, wrong in (("FEATURE_MAPS", [9, 9, 9, 9]), ("BOXES_PER_LOCATION", [1]), ("STRIDES", [1, 1, 1, 1])):
        with pytest.raises(ConfigError, match=f"MODEL.PRIORS.{key}") as caught:
            build_detection_model(small.with_overrides([f"MODEL.PRIORS.{key}", wrong]))
        for value in ("[]", *re.findall(r"gives (\[.*\]);", str(caught.value))):
            build_detection_model(small.with_overrides([f"MODEL.PRIORS.{key}", value]))
    for value in (0, 3):
        with pytest.raises(ConfigError, match=rf"\b{value}\b"):
            with_num_classes(load_config(None), "bcd")
        with_num_classes(load_config(None, ["MODEL.NUM_CLASSES", value]), "bcd")


@pytest.mark.parametrize(
    "overrides", [["SOLVER.MAX_ITER", 2], ["SOLVER.BATCH_SIZE_SCOPE", "global", "SOLVER.BATCH_SIZE", 6]]
)
def test_proposals_for_several_processes(overrides) -> None:
    with pytest.raises(ConfigError) as caught:
        scale_to_processes(load_config(None, overrides), 4)
    key, values = overrides[-2], re.findall(r"\d+", str(caught.value).partition("set it to ")[2])
    assert values
    for value in values:
        scale_to_processes(load_config(None, [*overrides, key, value]), 4)


def test_proposals_for_datasets(scenes, make_cfg) -> None:
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST") as caught:
        build_datasets(make_cfg(), is_train=False)
    (proposal,) = shlex.split(str(caught.value).partition("for example ")[2].partition(". ")[0])
    assert make_cfg(**{"DATASETS.TEST": proposal}).DATASETS.TEST[0].startswith("voc_")
    entry = {"FORMAT": "voc", "ROOT": str(scenes), "SPLIT": "test"}
    for classes in ("square, ring", "[square, ring]"):
        with pytest.raises(ConfigError, match="CLASSES") as caught:
            make_dataset("mine", {"mine": {**entry, "CLASSES": classes}}, is_train=True)
        (proposal,) = shlex.split(str(caught.value).partition("; write ")[2])
        custom = load_config(None, ["DATASETS.CUSTOM.mine.CLASSES", proposal]).DATASETS.CUSTOM
        assert custom.mine.CLASSES == ["square", "ring"]
