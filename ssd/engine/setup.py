"""What the scripts share: arguments, configuration, logging, seeds, and errors as messages."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ssd.config import Config, load_config
from ssd.utils.atomic import atomic_write
from ssd.utils.device import keep_freed_memory, select_device
from ssd.utils.errors import ConfigError, SSDError
from ssd.utils.logger import setup_logger

logger = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's exit status for a process that Ctrl-C ended


def make_parser(description: str) -> argparse.ArgumentParser:
    """Build a parser with the arguments that all scripts take."""
    parser = argparse.ArgumentParser(description=description)
    add_flag(parser, "--config-file", default=None, metavar="FILE", help="YAML file, see configs/")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="ignored: the launcher sets LOCAL_RANK"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of config keys")
    return parser


def add_flag(parser: argparse.ArgumentParser, name: str, **kwargs: object) -> None:
    """Add an option in both spellings, with dashes and with underscores."""
    stem = name.removeprefix("--")
    spellings = dict.fromkeys([name, f"--{stem.replace('_', '-')}", f"--{stem.replace('-', '_')}"])
    parser.add_argument(*spellings, **kwargs)  # type: ignore[arg-type]


def parse_bool(text: str) -> bool:
    """Read a truth value as scripts take it."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return values[text.lower()]


def start_run(args: argparse.Namespace, *, log_dir: bool = True) -> tuple[Config, torch.device]:
    """Load the configuration, and set up the log, the seed and the device.

    Args:
        args: parsed arguments of ``make_parser``.
        log_dir: whether OUTPUT_DIR is created and gets a log.txt.

    Raises:
        ConfigError: the configuration is wrong, or several processes were started.
        DeviceError: MODEL.DEVICE does not exist.
    """
    if args.config_file is None:
        raise ConfigError("--config-file is missing; for example --config-file configs/vgg_ssd300_voc0712.yaml")
    cfg = load_config(args.config_file, args.opts)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("WORLD_SIZE is above 1, but this version runs in one process; start it without torchrun")
    setup_logger(cfg.OUTPUT_DIR if log_dir else None)
    device = select_device(cfg.MODEL.DEVICE)
    torch.manual_seed(cfg.SOLVER.SEED)
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # inputs have one size
        if device.index is not None:
            torch.cuda.set_device(device)
    overrides = f" with {' '.join(map(str, args.opts))}" if args.opts else ""
    logger.info("Config %s%s, device %s", args.config_file, overrides, device)
    return cfg, device


def save_config(cfg: Config) -> None:
    """Write the resolved configuration to OUTPUT_DIR/config.yaml."""
    path = Path(cfg.OUTPUT_DIR, "config.yaml")
    with atomic_write(path) as file:
        file.write(cfg.dump().encode())
    logger.info("Resolved config: %s", path)


def with_num_classes(cfg: Config, class_names: Sequence[str]) -> Config:
    """Return a frozen config whose MODEL.NUM_CLASSES counts ``class_names`` (with background).

    Raises:
        ConfigError: it was set to something else.
    """
    if cfg.MODEL.NUM_CLASSES not in (0, len(class_names)):
        names = ", ".join(class_names[1:])
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but there are {len(class_names)} classes with background: "
            f"{names}. Set it to {len(class_names)}, or to 0 to follow the data"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.NUM_CLASSES = len(class_names)
    cfg.freeze()
    return cfg


def run_script(main: Callable[[], int | None]) -> int:
    """Run a script and return its exit status: 1 for what the user can mend, told in one message; 130 for Ctrl-C."""
    try:
        return main() or 0
    except SSDError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
