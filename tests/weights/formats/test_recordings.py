"""Every recorded detector of another project, converted, has the same priors, predictions and detections."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from ssd.weights.formats import layouts
from tests.weights.formats import peers

VALUE_MAJOR = {"order": "value-major"}
# The IoU of qfgaohao adds 1e-5 to the union, so that a few more drawn detections stay beside a neighbour there.
FEWER = {"has_total": False}
RECORDINGS: dict[str, dict[str, Any]] = {
    "amdegroot_ssd300_voc": {},
    "mlperf_ssd300_resnet34_coco": VALUE_MAJOR,
    # mmdetection limits candidates to 1000 a level, which changes none of the best 200.
    "mmdet_ssd300_coco": {"classes": [80, *range(80)]},
    "mmdet_ssd512_voc": {"classes": [20, *range(20)]},
    "mmdet_ssdlite_mobilenetv2_coco": {"classes": [80, *range(80)]},
    "nvidia_ssd300_resnet18_coco": VALUE_MAJOR,
    "nvidia_ssd300_resnet34_coco": VALUE_MAJOR,
    "nvidia_ssd300_resnet50_coco": VALUE_MAJOR,
    "qfgaohao_mb1-ssd_voc": {},
    "qfgaohao_mb2-ssd-lite_voc": FEWER,
    "qfgaohao_mb3-large-ssd-lite_voc": {},
    "qfgaohao_vgg16-ssd_voc": FEWER,
    "sgrvinod_ssd300_voc": {"order": [0, 1, 2, 4, 3, 5]},
    "torchvision_ssd300_vgg16": {},
    "uvipen_ssd300_resnet50_coco": VALUE_MAJOR,
    "uvipen_ssdlite300_mobilenetv2_coco": VALUE_MAJOR,
}
LISTINGS = {"torchvision_ssd300_vgg16": "torchvision_ssd300_vgg16_coco"}
SLOW = {"mmdet_ssd512_voc", "nvidia_ssd300_resnet18_coco", "nvidia_ssd300_resnet34_coco", "uvipen_ssd300_resnet50_coco"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in RECORDINGS]
)
def test_recording(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "NUM_SLOTS", 0)  # in random weights all of its 91 slots compete: keep them all
    peer = peers.load_peer(name, LISTINGS.get(name, name))
    detector = peers.build(peers.convert(peer.weights))
    options = dict(RECORDINGS[name])
    if "order" in options:
        options["order"] = make_order(detector, options["order"])
    peers.check_recording(detector, peer.recorded, **options)


def make_order(detector: peers.Detector, order: str | Sequence[int]) -> torch.Tensor:
    if isinstance(order, str):
        return peers.value_major_order(detector.levels)
    return peers.cell_order(detector.levels, {len(order): order})


def test_recording_of_torchvisions_ssdlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of COCO's classes; and detections of all 91 slots, since those without a category compete there."""
    listing = "torchvision_ssdlite320_mobilenet_v3_large_coco"
    peer = peers.load_peer("torchvision_ssdlite320_mobilenet_v3_large", listing)
    detector = peers.build(peers.convert(peer.weights))
    predictions = peers.predict(detector, peer.recorded)
    peers.check_network(detector, peer.recorded, predictions, classes=layouts.SLOTS)
    monkeypatch.setattr(layouts, "NUM_SLOTS", 0)
    detector = peers.build(peers.convert(peer.weights))
    peers.check_detections(detector, peer.recorded, peers.predict(detector, peer.recorded))


def test_every_recording_is_compared() -> None:
    recorded = {path.stem for path in (peers.GOLDENS / "peers").glob("*.npz")}
    assert recorded - RECORDINGS.keys() == {"torchvision_ssdlite320_mobilenet_v3_large"}


def test_priors_of_mmdetections_512() -> None:
    """Compared in every run, since its recording is slow."""
    priors = peers.priors_of("interop/mmdet_ssd512_voc")
    recorded = np.load(peers.GOLDENS / "peers" / "mmdet_ssd512_voc.npz")["priors_all"]
    np.testing.assert_allclose(priors, recorded, rtol=0, atol=1e-6)
