"""The command `ssd reproduce`: the training of a manifest once more in another folder, and whether it is the same."""

import argparse
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ssd.config import Config, parse_config
from ssd.engine.manifest import MANIFEST, read_manifest
from ssd.engine.manifest_changes import changes_on_the_way, changes_since, last_training, result_differences
from ssd.engine.setup import add_flag, run_script
from ssd.utils.errors import ConfigError, OutputError, os_errors_as
from ssd.utils.files import atomic_write
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.logger import setup_logger

logger = logging.getLogger(__name__)

CONFIG = "reproduced.yaml"
_TRAIN = ("-m", "ssd.cli", "train")
_FLAGS = ("log_step", "save_step", "eval_step", "use_tensorboard")  # of `ssd train`, those with a value


def main(args: Sequence[str]) -> int:
    """Run `ssd reproduce`."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd reproduce`."""
    parser = argparse.ArgumentParser(
        prog="ssd reproduce",
        description="Do the training of a manifest once more, in another folder, and compare the weights.",
    )
    help_text = f"{MANIFEST}, from the OUTPUT_DIR of a training"
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help=help_text)
    help_text = "where to train; default: the manifest's folder, with _reproduced after its name"
    add_flag(parser, "--output_dir", metavar="DIR", type=Path, help=help_text)
    parser.add_argument("--force", action="store_true", help="train although something is not as it was")
    return parser.parse_args(args)


def run(args: argparse.Namespace) -> int:
    """Train again and compare.

    Returns:
        The exit status: 0 if the weights are the same to the bit, or there are none to compare with. 1 if they are
        others, or something is not as it was (without --force); that of the training if it did not end.

    Raises:
        ConfigError: the manifest is none, or its training cannot be started from here.
        DatasetError: a dataset is missing or malformed.
        DeviceError: the device of its config does not exist.
        OutputError: the folder holds something else, or cannot be written.
    """
    setup_logger(None)
    starts = last_training(read_manifest(args.manifest))
    home = args.manifest.resolve().parent
    folder = args.output_dir or home.with_name(f"{home.name}_reproduced")
    cfg = read_config(starts[-1], folder)
    command = make_command(starts[-1], folder)
    changes = [*changes_on_the_way(starts), *changes_since(starts[-1], cfg)]
    if changes:
        logger.warning("Not as it was:\n  %s", "\n  ".join(changes))
        if not args.force:
            logger.error("The result may be another; --force trains all the same")
            return 1
    write_config(cfg, folder)
    status = train_again(command, starts[-1]["machine"].get("threads"))
    return status or compare(starts, last_training(read_manifest(folder / MANIFEST)))


def read_config(start: Mapping[str, Any], folder: Path) -> Config:
    """Return the config of a start with another OUTPUT_DIR.

    Raises:
        ConfigError: it is none that this version knows.
    """
    return parse_config(yaml.safe_dump({**start["config"], "OUTPUT_DIR": str(folder)}), f"the config of {MANIFEST}")


def make_command(start: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the command line that trains as a start did.

    Raises:
        ConfigError: several machines trained.
    """
    processes, arguments = start["processes"], start["arguments"]
    if processes > start["processes_of_a_machine"]:
        raise ConfigError(
            f"{processes} processes have trained, {start['processes_of_a_machine']} a machine: start ssd train on as "
            "many machines yourself, with torchrun and the config of the manifest"
        )
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    flags = [f"--{name}={arguments[name]}" for name in _FLAGS if name in arguments]
    flags += ["--skip-test"] if arguments.get("skip_test") else []
    return [sys.executable, *launcher, *_TRAIN, "--config-file", str(folder / CONFIG), *flags]


def write_config(cfg: Config, folder: Path) -> None:
    """Write the config to train with into a folder that is new, or in which the same was begun and goes on.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    content = cfg.dump().encode()
    path = folder / CONFIG
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (path.is_file() and path.read_bytes() == content):
            raise OutputError(f"{folder} holds something else; name a new folder with --output_dir, or empty that one")
        with atomic_write(path) as file:
            file.write(content)


def train_again(command: list[str], threads: int | None) -> int:
    """Run a training in as many threads as it had, and return its exit status.

    A signal is the training's: it saves and ends, and the same command goes on with it.
    """
    logger.info("%s", " ".join(command))
    environment = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
    with InterruptGuard(patient=True) as interrupt, subprocess.Popen(command, env=environment) as process:
        is_told = False
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if interrupt.signal == signal.SIGTERM and not is_told:  # Ctrl-C comes to all processes of a terminal
                    process.terminate()
                    is_told = True


def compare(starts: list[dict[str, Any]], again: list[dict[str, Any]]) -> int:
    """Say whether a second training has come to the weights and metrics of the first; return the exit status."""
    before, now = starts[-1].get("result"), again[-1].get("result")
    if not isinstance(before, dict) or not isinstance(now, dict):
        logger.info(
            "Done. The manifest has no result, since its training did not end: there is nothing to compare with"
        )
        return 0
    if before.get("weights") == now["weights"]:
        logger.info("The weights are the same to the bit")
        return 0
    if starts[0].get("initial_weights") != again[0].get("initial_weights"):
        logger.warning("They began with other weights; look at MODEL.WEIGHTS and MODEL.BACKBONE.PRETRAINED")
    differences = result_differences(before, now)
    metrics = "Metrics:\n  " + "\n  ".join(differences) if differences else "The metrics are the same"
    logger.warning("The weights are others. %s", metrics)
    return 1
