"""What the scripts share."""

import argparse
from pathlib import Path

import pytest
import torch

from ssd.engine import setup
from ssd.engine.setup import make_parser, parse_bool, start_run
from ssd.utils.errors import ConfigError


def test_flags_may_follow_overrides() -> None:
    parser = make_parser("")
    setup.add_flag(parser, "--skip-test", action="store_true")
    args = parser.parse_intermixed_args(
        ["--config_file", "a.yaml", "SOLVER.LR", "1e-3", "--skip_test", "TEST.MAX_PER_CLASS", "-1", "--local-rank=3"]
    )
    assert args.config_file == "a.yaml"
    assert args.skip_test
    assert args.opts == ["SOLVER.LR", "1e-3", "TEST.MAX_PER_CLASS", "-1"]


def test_truth_values() -> None:
    assert [parse_bool(text) for text in ("true", "1", "False", "no")] == [True, True, False, False]
    with pytest.raises(argparse.ArgumentTypeError, match="expected true or false, got 'maybe'"):
        parse_bool("maybe")


@pytest.mark.parametrize(("name", "index"), [("cuda", []), ("cuda:1", [torch.device("cuda:1")])])
def test_a_gpu_is_selected_only_by_its_number(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: list[torch.device]
) -> None:
    """torch.cuda.set_device refuses a device without an index."""
    selected: list[torch.device] = []
    monkeypatch.setattr(setup, "select_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", selected.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    args = argparse.Namespace(config_file=config_file, opts=["MODEL.DEVICE", name])
    _, device = start_run(args)
    assert device == torch.device(name)
    assert selected == index


def test_a_config_file_is_needed() -> None:
    with pytest.raises(ConfigError, match="--config-file is missing"):
        start_run(argparse.Namespace(config_file=None, opts=[]))
