"""Start a command: configuration, process, checkpoint; turn errors into messages and exit statuses."""

import argparse
import errno
import sys
from collections.abc import Callable

import torch

from ssd.config import Config, load_config
from ssd.config.files import find_config
from ssd.data import build_datasets
from ssd.data.datasets import DetectionDataset
from ssd.engine.setup import start_process
from ssd.utils.distributed import (
    get_rank,
    in_turns,
    is_distributed,
    is_lost_connection,
    leave_processes,
    read_launch,
    said_once,
)
from ssd.utils.errors import DatasetError, SSDError
from ssd.utils.logger import setup_logger
from ssd.weights.loaded_checkpoint import LoadedCheckpoint, known_class_names, trained_class_names
from ssd.weights.trained import read_trained, read_with_config

INTERRUPTED = 130  # the shell's exit status for a process that Ctrl-C ended


def start_run(
    args: argparse.Namespace, *, log_dir: bool = True, distributed: bool = False
) -> tuple[Config, torch.device]:
    """Load the configuration that the command line names, and set up the process, see ``start_process``."""
    cfg = load_config(args.config_file, args.opts)
    origin = str(find_config(args.config_file))
    return cfg, start_process(cfg, origin, args.opts, log_dir=log_dir, distributed=distributed)


def start_trained(
    args: argparse.Namespace, *, log_dir: bool = False, distributed: bool = False
) -> tuple[Config, torch.device, LoadedCheckpoint]:
    """Set up the process for a detector that the command line names: by a config, a checkpoint (``ckpt``) or both."""
    if args.config_file is None and args.ckpt is not None:
        setup_logger(None, rank=read_launch().rank)
        cfg, checkpoint = read_with_config(None, args.ckpt, args.opts)
        device = start_process(cfg, f"of {args.ckpt}", args.opts, log_dir=log_dir, distributed=distributed)
        return cfg, device, checkpoint
    cfg, device = start_run(args, log_dir=log_dir, distributed=distributed)
    with in_turns():
        return cfg, device, read_trained(cfg, args.ckpt)


def build_test_sets(cfg: Config, checkpoint: LoadedCheckpoint) -> tuple[tuple[str, ...], list[DetectionDataset]]:
    """Return the classes of a checkpoint, see ``trained_class_names``, and the sets of DATASETS.TEST with them."""
    class_names = known_class_names(cfg, checkpoint)
    with said_once():
        datasets = build_datasets(cfg, is_train=False, class_names=class_names)
        if class_names is None:
            class_names = trained_class_names(cfg, checkpoint, of_data=datasets[0].class_names)
            if class_names != tuple(datasets[0].class_names):
                datasets = build_datasets(cfg, is_train=False, class_names=class_names)
    return class_names, datasets


def run_script(main: Callable[[], int | None]) -> int:
    """Run a command and return its exit status: 1 for an error of the user's input, after a message; 130 for Ctrl-C."""
    try:
        status = main() or 0
        leave_processes()
        return status
    except SSDError as error:
        is_rendered = isinstance(error, DatasetError) and error.path == "datasets/scenes"
        message = f"{error}. `ssd data scenes` renders it, in a minute" if is_rendered else str(error)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if error.filename is None and not is_full:
            raise
        remedy = "make room, and the same command continues" if is_full else "name another place, or give access to it"
        message = f"{error.filename or 'OUTPUT_DIR'}: {error.strerror or error}; {remedy}"
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        cause = str(error).partition("\n")[0]
        message = (
            "another process has ended, or cannot be reached any more; its own message says why. "
            f"A new run continues from the last checkpoint. ({cause})"
        )
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    rank = f"rank {get_rank()}: " if is_distributed() else ""
    sys.stderr.write(f"error: {rank}{message}\n")
    return 1
