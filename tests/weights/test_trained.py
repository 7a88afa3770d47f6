"""Which checkpoint is evaluated and detected with."""

from pathlib import Path

import pytest
import torch

from ssd.config import load_config
from ssd.structures.class_names import VOC_CLASSES
from ssd.utils.errors import ConfigError
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from ssd.weights.trained import build_trained_model


def test_scores_of_another_function() -> None:
    cfg = load_config(None, ["MODEL.BOX_HEAD.SCORES", "sigmoid", "MODEL.BACKBONE.PRETRAINED", False])
    checkpoint = LoadedCheckpoint({}, "a.pth", config=cfg.dump())
    with pytest.raises(ConfigError, match=r"a\.pth was trained with MODEL\.BOX_HEAD\.SCORES sigmoid"):
        build_trained_model(load_config(None), checkpoint, ("", *VOC_CLASSES), torch.device("cpu"))
    configs = ("MODEL: {}", "softmax"), ("MODEL: 7", "softmax"), ("a: [", None), (None, None), (7, None)
    for text, expected in configs:
        assert LoadedCheckpoint({}, "a.pth", config=text).score_function == expected


def test_damage_in_the_scripts(script, trained: Path, tmp_path: Path) -> None:
    """test.py with --ckpt refuses the file; without, and train.py, go back to the one before."""
    last = tmp_path / "out" / "model_final.pth"
    saved = torch.load(last)
    earlier = tmp_path / "out" / "model_000003.pth"
    last.rename(earlier)
    torch.save(saved, last)
    weight = saved["model"]["box_head.predictor.cls_headers.0.bias"].numpy().tobytes()
    last.write_bytes(last.read_bytes().replace(weight, bytes(len(weight))))

    status, _, error = script("test.py", "--config-file", trained, "--ckpt", last)
    assert status == 1
    assert error.startswith(f"error: {last}: damaged")
    for name, options in (("test.py", ()), ("train.py", ("--skip-test", "SOLVER.MAX_ITER", 4))):
        status, log, _ = script(name, "--config-file", trained, *options)
        assert status == 0
        assert f"{last}: damaged" in log
        assert f"Using {earlier} in its place" in log
    assert "iteration 3 of 4" in log
    assert torch.load(last)["iteration"] == 4
