"""How accurate is a training? ``python -m benchmarks accuracy``: arms x sets x seeds, with equal steps and images.

An arm is a config, a set a YAML file with DATASETS or a folder, a run one process of ``ssd train`` with one thread.
Finished runs are rows of OUTPUT/results.jsonl, and are not repeated; one that was stopped continues from its last
checkpoint, if it has one.
"""

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from benchmarks.accuracy_tables import format_tables
from benchmarks.library import ROOT
from ssd.config import Config, load_config
from ssd.config import cfg as default_config
from ssd.config.files import find_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets
from ssd.data.datasets.find import find_layout
from ssd.data.datasets.folders import kind_of_split
from ssd.evaluation import evaluate
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.structures.boxes import height_width
from ssd.utils.errors import ConfigError, SSDError

_ARMS = Path(__file__).parent / "arms"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True)
class Run:
    """One training: its names, its seed and its whole config; ``key`` identifies the config."""

    arm: str
    set: str
    seed: int
    cfg: Config
    key: str

    @property
    def folder(self) -> Path:
        """Folder of the output."""
        return Path(self.cfg.OUTPUT_DIR)


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description="Compare trainings.")
    help_text = "config files, names of the library's configs or of benchmarks/arms; 'FILE KEY VALUE ...' in quotes "
    parser.add_argument("--arms", nargs="+", required=True, metavar="ARM", help=f"{help_text}overrides keys of one arm")
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="YAML files with DATASETS, or folders")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default 0")
    parser.add_argument("--iterations", type=int, default=600, metavar="N", help="of each training; default 600")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="default 16")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs side by side; default 1")
    parser.add_argument("--output", type=Path, default=Path("outputs/accuracy"), metavar="DIR")
    parser.add_argument("--against", metavar="ARM", help="what the others are compared with; default the first")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of keys of all arms")
    parsed = parser.parse_args(args)
    if parsed.against is not None and parsed.against not in parsed.arms:
        parser.error(f"--against {parsed.against} is none of the arms {', '.join(parsed.arms)}")
    return parsed


def main(args: Sequence[str]) -> int:
    """Train what is missing, print the tables; return 1 if a run failed."""
    parsed = parse_args(args)
    try:
        runs = list(_make_runs(parsed))
    except SSDError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    parsed.output.mkdir(parents=True, exist_ok=True)
    results = parsed.output / "results.jsonl"
    rows = _read_rows(results)
    missing = {run.key: run for run in runs if run.key not in rows}
    failed = 0
    with ThreadPoolExecutor(parsed.jobs) as pool:
        futures: dict[Future[float], Run] = {pool.submit(_train, run): run for run in missing.values()}
        for number, future in enumerate(as_completed(futures), start=1):
            run = futures[future]
            try:
                row = _measure(run, future.result())
            except subprocess.CalledProcessError:
                failed += 1
                _say(f"{number}/{len(missing)} {run.arm}, {run.set}, seed {run.seed}: failed, see {run.folder}/run.log")
                continue
            with open(results, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            _say(f"{number}/{len(missing)} {run.arm}, {run.set}, seed {run.seed}: AP {100 * row['values']['AP']:.1f}")
    rows = _read_rows(results)
    found = [{**rows[run.key], "arm": run.arm, "set": run.set, "seed": run.seed} for run in runs if run.key in rows]
    _say(format_tables(found, parsed.against or parsed.arms[0]))
    return 1 if failed else 0


def _make_runs(parsed: argparse.Namespace) -> Iterator[Run]:
    """Runs by set, seed and arm, so that pairs are complete early."""
    for source in parsed.sets:
        for seed in parsed.seeds:
            for arm in parsed.arms:
                cfg = _make_config(arm, source, seed, parsed)
                changes = _changes(*(yaml.safe_load(node.dump()) for node in (cfg, default_config)))
                key = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:16]
                cfg = cfg.with_overrides(["OUTPUT_DIR", str(parsed.output / "runs" / key)])
                yield Run(arm, Path(source).stem, seed, cfg, key)


def _make_config(arm: str, source: str, seed: int, parsed: argparse.Namespace) -> Config:
    """The config of the arm with the set, the common number of steps and images, and no output folder."""
    name, *opts = shlex.split(arm)
    own = _ARMS / f"{name.removesuffix('.yaml')}.yaml"
    cfg = load_config(own if own.is_file() else find_config(name), opts)
    cfg.defrost()
    cfg.MODEL.NUM_CLASSES = 0
    if os.path.isdir(source):
        cfg.merge_from_list(_folder_options(Path(source)))
    else:
        cfg.merge_from_file(source)
    factor = parsed.iterations / cfg.SOLVER.MAX_ITER
    steps = [round(step * factor) for step in cfg.SOLVER.LR_STEPS]
    cfg.merge_from_list(
        [
            *("SOLVER.MAX_ITER", parsed.iterations, "SOLVER.LR_STEPS", steps, "SOLVER.BATCH_SIZE", parsed.batch_size),
            *("SOLVER.SEED", seed, "DATA_LOADER.NUM_WORKERS", 0, "CHECKPOINT.KEEP", 1),
            *("TEST.METRIC", "coco", "TEST.VALIDATION_LOSS", False, "OUTPUT_DIR", "outputs"),
            *parsed.opts,
        ]
    )
    cfg.freeze()
    return cfg


def _changes(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults: keys that the library gains later leave them as they are."""
    return {
        key: _changes(value, defaults[key]) if isinstance(value, dict) and defaults.get(key) else value
        for key, value in values.items()
        if key not in defaults or value != defaults[key]
    }


def _folder_options(folder: Path) -> list[Any]:
    """Train on trainval or train, test on test or val; of several names of one kind the first."""
    layout = find_layout(folder)
    splits: dict[str, Any] = {}
    for name, entry in layout.entries.items():
        splits.setdefault(kind_of_split(name or ""), entry)
    test = next((kind for kind in ("test", "val") if kind in splits), None)
    kinds = ("train",) if test == "val" else ("trainval", "train")
    train = next((kind for kind in kinds if kind in splits), None)
    if train is None or test is None:
        found = ", ".join(map(str, layout.entries))
        raise ConfigError(f"{folder}: splits to train and to test on are needed, found {found}; write a YAML file")
    names = {kind: f"{folder.name}_{kind}" for kind in (train, test)}
    custom = {name: dict(splits[kind]) for kind, name in names.items()}
    return ["DATASETS.CUSTOM", custom, "DATASETS.TRAIN", (names[train],), "DATASETS.TEST", (names[test],)]


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by key; the last line may be cut off."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["key"]] = row
    return rows


def _train(run: Run) -> float:
    """Train and evaluate in a process of one thread; return the seconds that it took."""
    run.folder.mkdir(parents=True, exist_ok=True)
    config = run.folder / "run.yaml"
    config.write_text(run.cfg.dump(), encoding="utf-8")
    command = [sys.executable, str(ROOT / "train.py"), "--config-file", str(config)]
    started = time.perf_counter()
    with open(run.folder / "run.log", "w", encoding="utf-8") as log:
        options = ["--eval_step", "0", "--use_tensorboard", "false"]
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
        subprocess.run([*command, *options], check=True, stdout=log, stderr=subprocess.STDOUT, env=environment)
    return time.perf_counter() - started


def _measure(run: Run, seconds: float) -> dict[str, Any]:
    """Return the row of a finished run, and remove its checkpoints."""
    name = run.cfg.DATASETS.TEST[0]
    folder = run.folder / "inference" / name
    with open(folder / "metrics.json", encoding="utf-8") as file:
        values = json.load(file)["values"]
    train_sets = build_datasets(run.cfg, is_train=True)
    class_names = train_sets[0].class_names
    dataset = build_datasets(run.cfg, False, class_names)[0]
    stored = torch.load(folder / "predictions.pth", weights_only=True)
    predictions = [Container(**{name: image[name] for name in ("boxes", "labels", "scores")}) for image in stored]
    values["mAP07"] = evaluate(dataset, predictions, folder / "voc07", metric="voc07").main
    model = build_detection_model(with_num_classes(run.cfg, class_names), pretrained=False)
    for checkpoint in run.folder.glob("*.pth"):
        checkpoint.unlink()
    return {
        **{"key": run.key, "arm": run.arm, "set": run.set, "seed": run.seed, "seconds": round(seconds, 1)},
        **{"iterations": run.cfg.SOLVER.MAX_ITER, "batch_size": run.cfg.SOLVER.BATCH_SIZE},
        "gmac": count_macs(model, height_width(run.cfg.INPUT.IMAGE_SIZE)) / 1e9,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "values": values,
    }


@torch.inference_mode()
def count_macs(model: nn.Module, image_size: tuple[int, int]) -> int:
    """Count the multiplications of the convolutions and linear layers for one image."""
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        counts.append(output.numel() * layer.weight[0].numel())  # type: ignore[index]

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    model.eval()
    model.predict(torch.zeros(1, 3, *image_size))  # type: ignore[operator]
    for handle in handles:
        handle.remove()
    return sum(counts)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
