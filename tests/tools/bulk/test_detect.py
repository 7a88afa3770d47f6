import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ssd
from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.structures import Container
from ssd.tools.bulk.detect import PredictOptions, detect_part
from ssd.tools.bulk.rows import Failure
from ssd.utils.errors import ConfigError

OPTIONS = PredictOptions(batch_size=2, score_threshold=0.3, tile=None)


def mean_of(images: Tensor) -> list[Container]:
    """A network whose only box says how bright an image is."""
    scores = images.float().mean(dim=(1, 2, 3)) / 255
    boxes = torch.tensor([[1.0, 2.0, 30.0, 40.0]])
    return [Container(boxes=boxes, labels=torch.tensor([1]), scores=score[None]) for score in scores]


@pytest.fixture
def predictor() -> Predictor:
    def network(images: Tensor) -> list[Container]:
        found = mean_of(images)
        for image in found:
            image.img_width, image.img_height = images.shape[3], images.shape[2]
        return found

    return Predictor(network, (48, 64), ("__background__", "light"))


@pytest.fixture
def files(pictures: Path) -> list[str]:
    return [*(str(path) for path in sorted(pictures.iterdir())), "gone.jpg"]


def test_a_row_an_image_in_their_order(predictor: Predictor, files: list[str]) -> None:
    rows = detect_part(predictor, files, 10, OPTIONS)
    assert rows is not None
    assert [row.index for row in rows] == [*range(10, 17)]
    assert [row.name for row in rows] == files
    assert [str(row.path) for row in rows] == files
    failed = {row.name: row.error for row in rows if isinstance(row, Failure)}
    assert list(failed) == [files[2], "gone.jpg"]
    assert failed[files[2]].startswith(f"{files[2]}: not an image")
    assert failed["gone.jpg"] == "gone.jpg: No such file or directory"
    assert all(row.pixels is None for row in rows if isinstance(row, Detections))


def test_only_failures(predictor: Predictor) -> None:
    rows = detect_part(predictor, ["gone.jpg", "s p a c e/0.jpg", "gone.jpg"], 0, OPTIONS)
    assert rows is not None
    assert [(type(row), row.index, row.name) for row in rows] == [
        (Failure, 0, "gone.jpg"), (Failure, 1, "s p a c e/0.jpg"), (Failure, 2, "gone.jpg"),
    ]  # fmt: skip


@pytest.mark.parametrize("tile", [None, 128])
def test_results_are_those_of_predict(detector_file: Path, files: list[str], tile: int | None) -> None:
    detector = ssd.init_detector(detector_file, device="cpu")
    rows = detect_part(detector, files, 0, PredictOptions(batch_size=4, score_threshold=0.5, tile=tile))
    assert rows is not None
    expected = detector.predict(files, batch_size=4, score_threshold=0.5, tile=tile, on_error=lambda error: None)
    found = [row for row in rows if isinstance(row, Detections)]
    assert [json.loads(row.to_json()) for row in found] == [json.loads(row.to_json()) for row in expected]
    assert sum(map(len, found)) > 0
    for row, result in zip(found, expected, strict=True):
        assert np.array_equal(row.boxes, result.boxes)


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_it_stops_at_any_image(predictor: Predictor, files: list[str], stop_at: int) -> None:
    """Also at those that cannot be read."""
    calls = 0

    def after_image() -> bool:
        nonlocal calls
        calls += 1
        return calls == stop_at

    assert detect_part(predictor, files, 0, OPTIONS, after_image=after_image) is None
    assert calls == stop_at


def test_wrong_options(predictor: Predictor, files: list[str]) -> None:
    with pytest.raises(ConfigError, match="tile must be at least 32"):
        detect_part(predictor, files, 0, PredictOptions(batch_size=1, score_threshold=0.0, tile=5))
