"""What the commands share: arguments, configuration, logging, seeds, output, and errors as messages."""

import argparse
import errno
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ssd.config import Config, load_config
from ssd.config.files import find_config
from ssd.engine.determinism import make_deterministic
from ssd.utils.device import keep_freed_memory
from ssd.utils.distributed import (
    get_rank,
    is_distributed,
    is_lost_connection,
    is_main,
    join_processes,
    leave_processes,
    read_launch,
    select_local_device,
)
from ssd.utils.errors import ConfigError, SSDError
from ssd.utils.files import atomic_write
from ssd.utils.logger import setup_logger

logger = logging.getLogger(__name__)

CONFIG_HELP = "YAML file, or the name of one of the library's configs, such as vgg_ssd300_voc0712.yaml"
CKPT_HELP = "path or URL; default: the last one of OUTPUT_DIR. One of this library needs no --config-file"
_OVERRIDES_HELP = "overrides of config keys"
INTERRUPTED = 130  # the shell's exit status for a process that Ctrl-C ended


def make_parser(description: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Build a parser with the arguments of commands that take --config-file; ``prog`` None is the script's name."""
    parser = argparse.ArgumentParser(prog, description=description)
    add_flag(parser, "--config-file", default=None, metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="ignored: the launcher sets LOCAL_RANK"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=_OVERRIDES_HELP)
    return parser


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG and overrides, the first arguments of commands about a config."""
    parser.add_argument("config", metavar="CONFIG", help=CONFIG_HELP)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=_OVERRIDES_HELP)


def add_flag(parser: argparse.ArgumentParser, name: str, **kwargs: object) -> None:
    """Add an option in both spellings, with dashes and with underscores."""
    stem = name.removeprefix("--")
    spellings = dict.fromkeys([name, f"--{stem.replace('_', '-')}", f"--{stem.replace('-', '_')}"])
    parser.add_argument(*spellings, **kwargs)  # type: ignore[arg-type]


def parse_bool(text: str) -> bool:
    """Read a truth value as options take it."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return values[text.lower()]


def parse_tile(text: str) -> int:
    """Read the side of a tile."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or another option behind --tile; got {text!r}")
    return int(text)


def start_run(
    args: argparse.Namespace, *, log_dir: bool = True, distributed: bool = False
) -> tuple[Config, torch.device]:
    """Load the configuration, and set up the process for it.

    Args:
        args: parsed arguments of ``make_parser``.
        log_dir: see ``start_process``.
        distributed: likewise.

    Raises:
        ConfigError: the configuration is wrong, or see ``start_process``.
        DeviceError: see ``start_process``.
    """
    if args.config_file is None:
        raise ConfigError("--config-file is missing; for example --config-file vgg_ssd300_voc0712.yaml")
    cfg = load_config(args.config_file, args.opts)
    origin = str(find_config(args.config_file))
    return cfg, start_process(cfg, origin, args.opts, log_dir=log_dir, distributed=distributed)


def start_process(
    cfg: Config, origin: str, overrides: Sequence[str], *, log_dir: bool, distributed: bool = False
) -> torch.device:
    """Set up the log, the seed and the device, and join the other processes that torchrun started.

    Args:
        cfg: of the run.
        origin: where it comes from, for the log.
        overrides: of its keys, for the log.
        log_dir: whether OUTPUT_DIR is created and gets a log.txt.
        distributed: whether this process may be one of several.

    Raises:
        ConfigError: several processes were started and it may not be, or not by torchrun.
        DeviceError: MODEL.DEVICE does not exist, or not for all processes of this machine.
    """
    launch = read_launch()
    if launch.world_size > 1 and not distributed:
        raise ConfigError(f"torchrun started {launch.world_size} processes of what runs in one: start it without")
    setup_logger(cfg.OUTPUT_DIR if log_dir else None, rank=launch.rank)
    if cfg.SOLVER.DETERMINISTIC:
        make_deterministic()
    device = select_local_device(cfg.MODEL.DEVICE, launch)
    torch.manual_seed(cfg.SOLVER.SEED)
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not cfg.SOLVER.DETERMINISTIC  # inputs have one size
        if device.index is not None:
            torch.cuda.set_device(device)
    join_processes(device)
    added = f" with {' '.join(map(str, overrides))}" if overrides else ""
    count = f", {launch.world_size} processes" if launch.world_size > 1 else ""
    logger.info("Config %s%s, device %s%s", origin, added, device, count)
    return device


def save_config(cfg: Config) -> None:
    """Write the resolved configuration to OUTPUT_DIR/config.yaml; of several processes rank 0 does."""
    if not is_main():
        return
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
    return cfg.with_overrides(["MODEL.NUM_CLASSES", len(class_names)])


def run_script(main: Callable[[], int | None]) -> int:
    """Run a command and return its exit status: 1 for what the user can mend, told in one message; 130 for Ctrl-C."""
    try:
        status = main() or 0
        leave_processes()
        return status
    except SSDError as error:
        sys.stderr.write(f"error: {_whose()}{error}\n")
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = error.filename or "OUTPUT_DIR"
        sys.stderr.write(f"error: {_whose()}{place}: {error.strerror}; make room, and the same command continues\n")
        return 1
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        cause = str(error).partition("\n")[0]
        sys.stderr.write(
            f"error: {_whose()}another process has ended, or cannot be reached any more; its own message says why. "
            f"The last checkpoint is what continues. ({cause})\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


def _whose() -> str:
    """Which process speaks, where there are several."""
    return f"rank {get_rank()}: " if is_distributed() else ""
