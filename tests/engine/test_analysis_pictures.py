"""What TensorBoard shows of an evaluation."""

from pathlib import Path

import numpy as np
import pytest

from ssd.engine import analysis_pictures
from ssd.engine.analysis_pictures import draw_analysis
from tests.tools.report.sets import evaluated, three_classes


def test_three_pictures_but_for_too_many_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = evaluated(*three_classes(), tmp_path)
    pictures = draw_analysis(evaluation)
    assert list(pictures) == ["precision", "f1", "confusion"]
    for picture in pictures.values():
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
        assert picture.std() > 5  # not blank
    monkeypatch.setattr(analysis_pictures, "_MAX_DETECTIONS", 7)
    assert list(draw_analysis(evaluation)) == list(pictures)  # it has seven
    monkeypatch.setattr(analysis_pictures, "_MAX_DETECTIONS", 6)
    assert draw_analysis(evaluation) == {}
