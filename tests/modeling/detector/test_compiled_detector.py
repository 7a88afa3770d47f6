"""Predictions of a compiled detector."""

from functools import partial

import pytest
import torch

from ssd.engine.flipped import FlippedDetector
from ssd.modeling.detector import CompiledDetector
from tests.tiny import steady_detector, tiny_batch


@torch.inference_mode()
@pytest.mark.parametrize("flip", [False, True])
def test_predictions_and_weights_are_those_of_the_detector(monkeypatch: pytest.MonkeyPatch, flip: bool) -> None:
    modes = []
    compile_with = partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", lambda call, mode, **kw: modes.append(mode) or compile_with(call, **kw))
    detector = steady_detector().eval()
    compiled = CompiledDetector(FlippedDetector(detector) if flip else detector, "reduce-overhead")
    images = tiny_batch()[0]
    first, again = compiled.predict(images), compiled.predict(images.flip(0))
    expected = FlippedDetector(detector).predict(images) if flip else detector.predict(images)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(again.cls_logits, expected.cls_logits.flip(0))
    assert modes == ["reduce-overhead"]
    assert all(map(torch.Tensor.equal, compiled.parameters(), detector.parameters()))
