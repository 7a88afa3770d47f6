"""SSD300 of amdegroot/ssd.pytorch: classes and notes. test_recordings.py compares the network."""

import re

import pytest

from ssd.structures.class_names import COCO_CLASSES
from tests.weights.formats import peers

NAME = "amdegroot_ssd300_voc"


def test_201_slots_are_the_classes_of_coco() -> None:
    shapes = peers.read_shapes("amdegroot_ssd300_coco")
    weights = peers.fill_faster({name: shape for name, shape in shapes.items() if not re.match(r"vgg\.\d\d", name)})
    converted = peers.convert(weights)
    assert (converted.config, converted.class_names) == ("interop/amdegroot_ssd300_coco", COCO_CLASSES)
    assert any("201 classes" in note for note in converted.notes)
    peers.check_slots(converted, weights, "conf", 201, range(81))


@pytest.mark.parametrize(("num_classes", "config"), [(21, "voc"), (81, "coco"), (201, "coco"), (5, "voc")])
def test_the_number_of_classes_tells_the_priors(num_classes: int, config: str) -> None:
    converted = peers.convert(peers.meta_weights(NAME, {r"conf\.": (21, num_classes)}))
    assert converted.config == f"interop/amdegroot_ssd300_{config}"
    assert any("ssd_300_VOC0712.pth" in note and "MODEL.PRIORS.CLIP False" in note for note in converted.notes)
    assert peers.count_built_classes(converted) == min(num_classes, 81)
