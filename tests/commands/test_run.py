"""Arguments that commands share, and errors as messages."""

import argparse
import errno
from pathlib import Path

import pytest
import torch

from ssd.commands.arguments import add_flag, make_parser, parse_bool, parse_tile
from ssd.commands.run import run_script, start_run
from ssd.utils import distributed
from ssd.utils.errors import ConfigError


def test_flags_may_follow_overrides() -> None:
    parser = make_parser("")
    add_flag(parser, "--skip-test", action="store_true")
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


def test_sides_of_tiles() -> None:
    assert parse_tile("512") == 512
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a number of pixels, .* got 'street.jpg'"):
        parse_tile("street.jpg")


@pytest.mark.parametrize(("name", "index"), [("cuda", []), ("cuda:1", [torch.device("cuda:1")])])
def test_a_gpu_is_selected_only_by_its_number(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: list[torch.device]
) -> None:
    """torch.cuda.set_device refuses a device without an index."""
    selected: list[torch.device] = []
    monkeypatch.setattr(distributed, "select_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", selected.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    args = argparse.Namespace(config_file=config_file, opts=["MODEL.DEVICE", name])
    _, device = start_run(args)
    assert device == torch.device(name)
    assert selected == index


def test_a_config_file_is_needed() -> None:
    with pytest.raises(ConfigError, match="--config-file is missing"):
        start_run(argparse.Namespace(config_file=None, opts=[]))


def test_what_runs_in_one_process_says_so(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(ConfigError, match="torchrun started 2 processes"):
        start_run(argparse.Namespace(config_file=config_file, opts=[]))


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ConfigError("a key is wrong"), 1, "error: a key is wrong"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, "No space left on device", "log.txt"),
            1,
            "error: log.txt: No space left on device;",
        ),
        (RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer\nmore"), 1, "error: another process"),
    ],
)
def test_errors_of_a_script_end_in_a_message(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, text: str
) -> None:
    def main() -> None:
        raise error

    assert run_script(main) == status
    written = capsys.readouterr().err
    assert written.startswith(text)
    assert written.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), PermissionError(13, "Permission denied", "log.txt")])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_script(main)
    assert caught.value is error
