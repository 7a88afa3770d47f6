"""A detector with a neck: export, priors, explanation and transfer of its weights."""

import pytest
import torch

from ssd.config import Config
from ssd.deploy import OnnxNetwork, OpenVinoNetwork, export_onnx, make_metadata
from ssd.deploy.quantize import quantize_onnx
from ssd.inference.api import make_predictor
from ssd.modeling.detector import build_detection_model
from ssd.tools.explain.explain import explain
from ssd.tools.priors.layout import make_layout
from ssd.weights.initial_model import load_detector_weights
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from tests.deploy.detectors import NAMES, assert_same, detect, make_batch, make_detector, make_small_config

SIZES = ([12, 24, 40, 56, 80], [24, 40, 56, 80, 90])


@pytest.fixture(scope="module", params=["fpn", pytest.param("pan", marks=pytest.mark.slow)])
def config(request: pytest.FixtureRequest) -> Config:
    return make_small_config(
        *("MODEL.NECK.NAME", request.param, "MODEL.NECK.CHANNELS", 32, "MODEL.PRIORS.MIN_SIZES", SIZES[0]),
        *("MODEL.PRIORS.MAX_SIZES", SIZES[1], "MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 5),
        *("MODEL.BOX_HEAD.PREDICTOR", "SeparableBoxPredictor"),
    )


def test_export(config: Config, tmp_path) -> None:
    model = make_detector(config)
    file = export_onnx(model, tmp_path / "model.onnx", make_metadata(config, model, NAMES))
    images = make_batch(config, 4)
    expected = detect(config, model, images)
    for network in (OnnxNetwork(file, num_threads=1), OpenVinoNetwork(file, num_threads=1)):
        box, score = assert_same(config, network(images), expected, least=10)
        assert box < 1e-2
        assert score < 1e-4
    path = quantize_onnx(file, tmp_path / "int8.onnx", images.permute(0, 2, 3, 1).contiguous().numpy())
    assert path.stat().st_size < 0.6 * file.stat().st_size
    for network in (OnnxNetwork(path, num_threads=1), OpenVinoNetwork(path, num_threads=1)):
        for found, exact in zip(network(images), expected, strict=True):
            near = (found["boxes"] - exact["boxes"][0]).abs().amax(dim=1) < 8  # of 128 pixels
            assert (near & (found["labels"] == exact["labels"][0])).any()


def test_priors(config: Config) -> None:
    layout = make_layout(config)
    assert layout.levels.feature_maps == [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]


def test_explanation(config: Config) -> None:
    model = make_detector(config)
    predictor = make_predictor(config, LoadedCheckpoint(model.state_dict(), "test"), NAMES, torch.device("cpu"))
    image = make_batch(config, 1)[0].permute(1, 2, 0).numpy()
    explanation = explain(predictor, image)
    assert [len(priors) for priors in explanation.level_priors] == [4 * cells for cells in (192, 48, 12, 4, 1)]
    expected = detect(config, model, make_batch(config, 1))[0]
    assert len(explanation.candidates.detections) == len(expected["scores"])


def test_weights_move_to_other_classes(config: Config) -> None:
    trained = make_detector(config)
    model = build_detection_model(config, pretrained=False)
    classes = ("__background__", "b", "a", "new", "d")
    load_detector_weights(model, trained.state_dict(), "test", trained_classes=NAMES, class_names=classes)
    pixels = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        before, after = trained.eval().predict(pixels), model.eval().predict(pixels)
    torch.testing.assert_close(after.bbox_pred, before.bbox_pred)
    torch.testing.assert_close(after.cls_logits[..., [0, 2, 1, 4]], before.cls_logits[..., [0, 1, 2, 4]])
