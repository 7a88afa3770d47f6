"""Arguments that commands share, and errors as messages."""

import argparse
import errno
import re
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from ssd.cli import main
from ssd.commands import predict, train
from ssd.commands.arguments import parse_bool, parse_tile
from ssd.commands.run import build_test_sets, run_script, start_run
from ssd.config import load_config
from ssd.utils import distributed
from ssd.utils.errors import ConfigError
from ssd.weights.loaded_checkpoint import LoadedCheckpoint


def test_flags_and_words_may_follow_overrides() -> None:
    words = "--config_file a.yaml SOLVER.LR 1e-3 --skip_test TEST.MAX_PER_CLASS -1 --local-rank=3"
    args = train.parse_args(words.split())
    assert (args.config_file, args.skip_test) == ("a.yaml", True)
    assert args.opts == ["SOLVER.LR", "1e-3", "TEST.MAX_PER_CLASS", "-1"]
    args = train.parse_args(["SOLVER.LR=1e-3", "--device", "cpu", "a.yaml", "-o", "runs/a", "OUTPUT_DIR=b=c"])
    assert args.config_file == "a.yaml"
    assert args.opts == ["OUTPUT_DIR", "runs/a", "MODEL.DEVICE", "cpu", "SOLVER.LR", "1e-3", "OUTPUT_DIR", "b=c"]


@pytest.mark.parametrize(
    ("line", "config", "ckpt", "sources"),
    [
        ("m.pth a.jpg b", None, "m.pth", ["a.jpg", "b"]),
        ("mmdet/ssd300_coco DSC.JPG", None, "mmdet/ssd300_coco", ["DSC.JPG"]),
        ("quickstart a.jpg", "quickstart", None, ["a.jpg"]),
        ("mine.yaml m.pth a.jpg", "mine.yaml", "m.pth", ["a.jpg"]),
        ("--ckpt m.pth a.jpg TEST.NMS_THRESHOLD=0.5", None, "m.pth", ["a.jpg"]),
        ("a.jpg --config-file mine.yaml", "mine.yaml", None, ["a.jpg"]),
        ("--weights m.pth --source a.jpg --conf 0.5", None, "m.pth", ["a.jpg"]),
        ("best a.jpg", None, "best", ["a.jpg"]),
        ("last a.jpg", "last/config.yaml", None, ["a.jpg"]),
    ],
)
def test_words_are_told_apart(line, config, ckpt, sources, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("best/model_best.pth", "best/config.yaml", "last/model_000010.pth", "last/config.yaml"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    args = predict.parse_args(line.split())
    assert (args.config_file, args.ckpt, args.sources) == (config, ckpt, sources)
    assert args.opts[:2] == (["OUTPUT_DIR", line.split()[0]] if line.startswith(("best", "last")) else args.opts[:2])
    assert not args.parts


def test_truth_values_and_sides_of_tiles() -> None:
    assert [parse_bool(text) for text in ("true", "1", "False", "no")] == [True, True, False, False]
    assert parse_tile("512") == 512
    for parse, text in ((parse_bool, "maybe"), (parse_tile, "street.jpg")):
        with pytest.raises(argparse.ArgumentTypeError, match=f"got '{text}'"):
            parse(text)


@pytest.mark.parametrize(("name", "index"), [("cuda", []), ("cuda:1", [torch.device("cuda:1")])])
def test_a_gpu_is_selected_only_by_its_number(config_file, monkeypatch, name, index):
    """torch.cuda.set_device refuses a device without an index."""
    selected: list[torch.device] = []
    monkeypatch.setattr(distributed, "select_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", selected.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    args = argparse.Namespace(config_file=config_file, opts=["MODEL.DEVICE", name])
    _, device = start_run(args)
    assert device == torch.device(name)
    assert selected == index


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
        (OSError(errno.ENOSPC, "No space left", "log.txt"), 1, "error: log.txt: No space left;"),
        (PermissionError(errno.EACCES, "Permission denied", "log.txt"), 1, "error: log.txt: Permission denied;"),
        (OSError(errno.EROFS, "Read-only file system", "a", None, "b"), 1, "error: a: Read-only file system;"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer\nmore"), 1, "error: another process"),
    ],
)
def test_errors_of_a_script_end_in_a_message(capsys, error, status, text):
    assert run_script(Mock(side_effect=error)) == status
    written = capsys.readouterr().err
    assert written.startswith(text)
    assert written.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EBADF, "Bad file descriptor"), KeyError("a")])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_script(Mock(side_effect=error))


# Arguments of each command that writes; {out} is below a file, so that no user can write there.
WRITERS = [
    *("train --config-file {config} OUTPUT_DIR {out}", "test --ckpt {ckpt} OUTPUT_DIR {out}"),
    "test --ckpt {ckpt} --output_dir {out}",
    *(f"demo --ckpt {{ckpt}} --source {{image}} {option} {{out}}" for option in ("--output_dir", "--save_txt")),
    "demo --ckpt {ckpt} --source {image} --no_draw --save_json {out}",
    *(f"{name} {{image}} --ckpt {{ckpt}} -o {{out}}" for name in ("predict", "explain")),
    "export --ckpt {ckpt} -o {out}.onnx --images {image} --skip_latency",
    *("convert {ckpt} -o {out}.pth", "priors {config} -o {out}", "check-data {config} --json {out}"),
    *(f"data {name} -o {{out}}" for name in ("browse {config}", "convert {scenes} --to coco", "split {scenes}")),
    *("data scenes --output {out}", "data scenes --demo {out}"),
]


@pytest.mark.parametrize("words", WRITERS)
def test_where_nothing_can_be_written(words, config_file, detector_file, scenes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    image = next((scenes / "JPEGImages").iterdir())
    places = {"config": config_file, "ckpt": detector_file, "scenes": scenes, "image": image, "out": "file/out"}
    assert main(words.format(**places).split()) == 1
    error = capsys.readouterr().err
    assert re.search("^error: .*file.*(Not a directory|File exists)", error, re.MULTILINE), error


def test_an_output_folder_that_is_a_file(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").touch()
    assert main(["train", "--config-file", str(config_file)]) == 1
    assert f"error: OUTPUT_DIR {tmp_path / 'out'} " in capsys.readouterr().err


@pytest.mark.parametrize("named", [False, True])
def test_classes_and_test_sets_of_a_checkpoint(write_voc: Callable[..., Path], *, named: bool) -> None:
    """For `ssd test` and `ssd export --evaluate`: names of the user give the labels; else the data, then VOC."""
    root = write_voc({"a": [("dog", (1, 1, 9, 9))]})
    sizes = {"cls": 3, "reg": 4}
    weights = {f"box_head.predictor.{kind}_headers.0.bias": torch.zeros(size) for kind, size in sizes.items()}
    entry = {"FORMAT": "voc", "ROOT": str(root), "SPLIT": "train", "CLASSES": ["dog", "cat"]}
    cfg = load_config(None, ["DATASETS.CUSTOM.pets", entry, "DATASETS.TEST", ["pets"]])
    if named:
        cfg = cfg.with_overrides(["MODEL.WEIGHTS_CLASSES", ["cat", "dog"]])
    names, (dataset,) = build_test_sets(cfg, LoadedCheckpoint(weights, "a.pth"))
    assert names == tuple(dataset.class_names) == ("__background__", *(["cat", "dog"] if named else ["dog", "cat"]))
    assert dataset.get_annotation(0)[1][1].tolist() == [1 + named]
    voc = LoadedCheckpoint({name: bias.repeat(7 if "cls" in name else 1) for name, bias in weights.items()}, "b.pth")
    if not named:
        names, (dataset,) = build_test_sets(cfg, voc)
        assert dataset.get_annotation(0)[1][1].tolist() == [names.index("dog")] == [12]
