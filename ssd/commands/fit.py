"""From a folder of annotated images to a detector and its report: ssd fit FOLDER [--minutes N] [KEY VALUE ...]."""

import argparse
import logging
import math
import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssd.commands import test, train
from ssd.commands.arguments import Parser
from ssd.commands.export import export as export_detector
from ssd.commands.export import parse_args as parse_export
from ssd.commands.run import run_script
from ssd.commands.source import add_format
from ssd.commands.train import make_training
from ssd.config import Config, load_config
from ssd.config.files import find_config
from ssd.config.node import with_num_classes
from ssd.deploy.detector import Run
from ssd.engine.trainer import Intervals
from ssd.inference.api import make_predictor
from ssd.inference.outputs import Outputs
from ssd.structures.boxes import height_width
from ssd.tools.data.writers import write_dataset
from ssd.tools.fit import plan as planning
from ssd.tools.fit.facts import Facts, read_facts
from ssd.tools.fit.plan import Choice, Plan, Schedule
from ssd.tools.fit.start import IMAGENET, Start, choose_pixels, choose_start
from ssd.tools.fit.timing import NUM_STEPS, Timing, measure_training
from ssd.tools.priors.layout import write_derived
from ssd.tools.report import describe_run, write_report
from ssd.utils.checkpoint import BEST
from ssd.utils.device import keep_freed_memory, select_device
from ssd.utils.errors import ConfigError, import_extra
from ssd.utils.logger import say, setup_logger
from ssd.weights.loaded_checkpoint import trained_class_names
from ssd.weights.trained import read_detector

CONFIG = "fit.yaml"
_NUM_DRAWN = 8  # held-out images
_MAX_BOX_IMAGES = 1000  # that priors are fitted to
_CHOSEN = "the evaluated checkpoint with the best main metric on these held-out images, so that metric is optimistic"


def main(args: Sequence[str]) -> int:
    """Run `ssd fit`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `ssd fit`."""
    description = (
        "Split, check, plan, train, evaluate: from a folder of annotated images to a detector and a report. The same "
        "command continues what was interrupted."
    )
    words = ("FOLDER", "images with annotations, such as VOC, COCO or YOLO files")
    parser = Parser("ssd fit", description, "ssd fit photos --minutes 20", words)
    parser.add_flag("--minutes", "X", "limit of the whole, report included (default: by the data)")
    help_text = "a detector or a backbone trained on ImageNet: path, URL or name of `ssd models`"
    parser.add_flag("--start", "MODEL", help_text, "--weights", "--model")
    parser.add_output("folder of the results (default: runs/NAME)")
    parser.add_device(with_seed=True)
    add_format(parser)
    parser.add_flag("--resplit", "", "split again what is split already")
    parser.add_flag("--export", "FORMAT", "also write the detector in this format", choices=("onnx",))
    parser.add_flag("--dry-run", "", "show the plan, and write nothing")
    return parser.parse_word(args, "folder")


def run(args: argparse.Namespace) -> int:
    """Plan and train as the command line says; return the exit status."""
    names = ("minutes", "start", "output", "format", "resplit", "export", "dry_run")
    return fit(args.folder, overrides=args.opts, **{name: getattr(args, name) for name in names}).status


def fit(
    folder: str | Path,
    *,
    minutes: float | None = None,
    start: str | None = None,
    output: str | Path | None = None,
    format: str | None = None,
    resplit: bool = False,
    export: str | None = None,
    dry_run: bool = False,
    overrides: Sequence[Any] = (),
) -> Run:
    """Train a detector on a folder of annotated images, and evaluate it; the same call continues what was interrupted.

    Args:
        folder: Images with annotations, in any format that is read.
        minutes: Limit of the whole, report included; None = a number of steps that suits the data.
        start: Path, URL or name of `ssd models`, of a detector or of a backbone trained on ImageNet; None = ImageNet
            weights if they are in the cache, else random weights.
        output: Folder of the results; None = runs/NAME.
        format: Format of the annotations; None = detected.
        resplit: Divide again what is divided already.
        export: "onnx" also writes the detector in this format.
        dry_run: Print the plan, and write nothing.
        overrides: ``[KEY, VALUE, ...]`` of config keys.
    """
    began = time.monotonic()
    setup_logger(None)
    folder = Path(folder)
    target = Path("runs", folder.resolve().name) / CONFIG if output is None else Path(output) / CONFIG
    if export is not None:
        import_extra("onnxscript", "onnx")
    given = _words(minutes, start, format, resplit=resplit) + [str(word) for word in overrides]
    command = shlex.join(["ssd", "fit", str(folder.resolve()), *given])
    if target.exists():
        text = _read_header(target, command, is_same=bool(given))[2]
        say(f"{target.parent} is continued, with the plan in {target.name}:\n\n{text}\n")
        return Run(target.parent, text) if dry_run else _train(target, command, export)
    on_error = dict(zip(overrides[::2], overrides[1::2], strict=False)).get("DATASETS.ON_ERROR", "raise")
    with _logging_at(logging.WARNING):
        facts = read_facts(folder, format_name=format, resplit=resplit, on_error=on_error)
        plan, cfg = make_plan(facts, start, overrides, minutes=minutes, began=began)
    say(f"\n{plan}\n")
    if dry_run:
        return Run(target.parent, str(plan))
    _write_config(plan, cfg, facts, overrides, target, command)
    return _train(target, command, export)


def _words(minutes: float | None, start: str | None, format: str | None, *, resplit: bool) -> list[str]:
    """Return the options that decide what is trained, as words of a command."""
    if minutes is not None and minutes <= 0:
        raise ConfigError(f"--minutes must be more than 0, got {minutes:g}")
    words = {"--minutes": minutes, "--start": start, "--format": format}
    return [str(word) for pair in words.items() if pair[1] is not None for word in pair] + ["--resplit"] * resplit


def make_plan(
    facts: Facts, source: str | None, overrides: Sequence[Any], *, minutes: float | None, began: float
) -> tuple[Plan, Config]:
    """Plan a training from the facts of a folder and the time of some steps; return the plan, and its config."""
    start = choose_start(source)
    names = ["DATASETS.TRAIN", list(facts.train), "DATASETS.TEST", list(facts.test)]
    cfg = load_config(start.recipe, [*start.overrides, *names, *overrides])
    scaling = [] if start.recipe != IMAGENET else choose_pixels(cfg, facts.datasets[0])
    weights = f"{start.text}{'; pixels are not divided, as its first batch norm asks' if scaling else ''}"
    choices = [planning.describe_data(facts), planning.describe_division(facts)]
    cfg = cfg.with_overrides([*scaling, *overrides])
    num_train = len(facts.records(facts.train))
    is_fixed = "SOLVER.MAX_ITER" in overrides[::2]
    wanted = cfg.SOLVER.MAX_ITER if is_fixed else planning.wanted_steps(num_train, cfg.SOLVER.BATCH_SIZE)
    limit = minutes if minutes is not None and not is_fixed else None
    option, priors, timing, schedule = _choose_input(
        cfg, facts, start, overrides, wanted=wanted, limit=limit, began=began
    )
    tried = cfg.with_overrides([*option.overrides, *priors.overrides, *overrides])
    schedule = replace(schedule, seconds=schedule.seconds + time.monotonic() - began)
    network = f"{cfg.MODEL.BACKBONE.NAME}, neck {cfg.MODEL.NECK.NAME}, on {select_device(cfg.MODEL.DEVICE)}"
    length = planning.describe_schedule(tried, schedule, timing, num_train, limit)
    weights_choice = Choice("start", weights, (*start.overrides, *scaling))
    choices += [weights_choice, Choice("network", network), option, priors, length]
    cfg = tried.with_overrides([*length.overrides, *overrides])
    risks = planning.find_risks(facts, cfg, start, schedule, wanted)
    return Plan(start.recipe, tuple(choices), schedule, tuple(risks)), cfg


def _choose_input(
    cfg: Config, facts: Facts, start: Start, overrides: Sequence[Any], *, wanted: int, limit: float | None, began: float
) -> tuple[Choice, Choice, Timing, Schedule]:
    """Return the first input that allows enough steps in the time that is left, its priors, time and schedule."""
    given = [str(key) for key in overrides[::2]]
    records, num_test = facts.training_boxes(), len(facts.records(facts.test))
    boxes = records[:: max(1, len(records) // _MAX_BOX_IMAGES)]
    inputs = list(planning.list_inputs(facts, start, given, has_limit=limit is not None))
    schedule, area = None, 0
    for option in inputs:
        tried = cfg.with_overrides([*option.overrides, *overrides])
        pixels = math.prod(height_width(tried.INPUT.IMAGE_SIZE))
        if schedule and option is not inputs[-1] and planning.is_hopeless(schedule, wanted, pixels / area):
            continue
        priors = planning.choose_priors(tried, facts, boxes, start, given)
        timing, area = _measure(tried.with_overrides(priors.overrides), facts), pixels
        left = None if limit is None else 60 * limit - (time.monotonic() - began)
        schedule = planning.plan_schedule(timing, wanted, num_test, left)
        if planning.is_enough(schedule, wanted):
            break
    assert schedule is not None, "there is no input to try"
    return option, priors, timing, schedule


def _measure(cfg: Config, facts: Facts) -> Timing:
    """Time a training of a config, in a process that is set up as by ``start_process``."""
    device = select_device(cfg.MODEL.DEVICE)
    if device.type == "cpu":
        keep_freed_memory()
    cfg = with_num_classes(cfg, facts.datasets[0].class_names)
    with _logging_at(logging.ERROR), tempfile.TemporaryDirectory() as folder:
        cfg = cfg.with_overrides(["OUTPUT_DIR", folder, "SOLVER.MAX_ITER", NUM_STEPS])
        sets = facts.datasets
        return measure_training(make_training(cfg, sets, sets, device, None, intervals=Intervals(0, 0, 0)))


@contextmanager
def _logging_at(level: int) -> Iterator[None]:
    """Show no log lines below a level."""
    logger = logging.getLogger("ssd")
    previous = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(previous)


def _write_config(plan: Plan, cfg: Config, facts: Facts, overrides: Sequence[Any], target: Path, command: str) -> None:
    """Write the images of a new split, and the config of the plan, whose `ssd train` repeats the training."""
    folder, entries = target.parent.resolve(), facts.entries
    if entries is None:
        link = os.name != "nt"  # where links need rights
        entries = write_dataset(folder / "data", facts.content, facts.format_name, link=link)[0]
    custom = {name: dict(entries[name]) for name in (*facts.train, *facts.test)}
    cfg = cfg.with_overrides(["DATASETS.CUSTOM", custom, "OUTPUT_DIR", str(folder)])
    keys = ["DATASETS.CUSTOM", "DATASETS.TRAIN", "DATASETS.TEST", "OUTPUT_DIR", *plan.overrides[::2], *overrides[::2]]
    length = plan.schedule
    intervals = f"--eval_step {length.evaluation_interval} --save_step {length.save_interval}"
    title = f"{command}\nssd train --config-file {shlex.quote(str(folder / CONFIG))} {intervals}\n{plan}"
    write_derived(cfg, dict.fromkeys(keys), find_config(plan.recipe), folder / CONFIG, title)


def _read_header(path: Path, command: str, *, is_same: bool) -> tuple[str, str, str]:
    """Return the commands `ssd fit` and `ssd train`, and the plan, from a config that this command wrote.

    The folder must be the same and, with ``is_same``, also the options.
    """
    lines = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    if shlex.split(lines[0])[:3] != shlex.split(command)[:3] or (is_same and lines[0] != command):
        raise ConfigError(f"{path} was written by `{lines[0]}`, which continues there; name another --output")
    return lines[0], lines[1], "".join(f"{line}\n" for line in lines[2:])


def _train(target: Path, command: str, export: str | None) -> Run:
    """Train, evaluate, write the reports and pictures, and say what comes next."""
    folder = target.parent
    _, training, text = _read_header(target, command, is_same=False)
    words = shlex.split(training)[2:]
    words[words.index("--config-file") + 1] = str(target)  # the folder may have been moved
    status = train.run(train.parse_args([*words, "OUTPUT_DIR", str(folder.resolve())]), is_all=False)
    if status:
        return Run(folder, text, status)
    best = next(path for name in (BEST, "model_final") if (path := folder / f"{name}.pth").is_file())
    cfg, checkpoint = load_config(target), read_detector(str(best))
    device = select_device(cfg.MODEL.DEVICE)
    evaluations = test.evaluate_trained(cfg, checkpoint, device, folder / "inference")
    facts = describe_run(cfg, str(target), checkpoint, device)
    planned = [(f"plan, {line[: planning.WIDTH].strip()}", line[planning.WIDTH :]) for line in text.splitlines()]
    facts = replace(facts, facts=(*facts.facts, ("chosen", _CHOSEN), *planned))
    reports = tuple(write_report(each, facts, folder / "inference" / each.name) for each in evaluations)
    first = evaluations[0]
    predictor = make_predictor(cfg, checkpoint, trained_class_names(cfg, checkpoint), device)
    rows = np.unique(np.linspace(0, len(first.dataset) - 1, _NUM_DRAWN).round().astype(int)).tolist()
    with Outputs(predictor.class_names, drawn=folder / "drawn") as outputs:
        images = [str(first.dataset.image_path(row)) for row in rows]
        for detections in predictor.predict(images, stream=True):
            outputs.add(detections)
    for each in evaluations:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in list(each.result.summary.items())[:3])
        say(f"\n{each.name}: {figures}\n")
    made = [best, *reports, folder / "drawn"]
    if export is not None:
        made.append(folder / f"model.{export}")
        status = export_detector(parse_export([str(best), "-o", str(made[-1]), "--skip_latency"]))
    say(f"\nWritten: {', '.join(map(str, made))}\n")
    say(f"Next: ssd predict {folder} FOLDER\n")
    metrics = {each.name: each.result.values for each in evaluations}
    return Run(folder, text, status, best, reports, metrics)
