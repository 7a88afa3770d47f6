"""Set up a process for a configuration: log, seed, device, other processes."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from ssd.config import Config
from ssd.engine.determinism import make_deterministic
from ssd.utils.device import keep_freed_memory
from ssd.utils.distributed import is_main, join_processes, read_launch, select_local_device
from ssd.utils.errors import ConfigError
from ssd.utils.files import atomic_write
from ssd.utils.logger import setup_logger

logger = logging.getLogger(__name__)


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
