"""Set up a process for a configuration: log, seed, device, other processes and its share of the schedule."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ssd.config import Config
from ssd.engine.determinism import make_deterministic
from ssd.utils.device import keep_freed_memory
from ssd.utils.distributed import get_world_size, is_main, join_processes, read_launch, select_local_device
from ssd.utils.errors import ConfigError
from ssd.utils.files import make_writable, write_text
from ssd.utils.logger import setup_logger

logger = logging.getLogger(__name__)


def start_process(
    cfg: Config, origin: str, overrides: Sequence[str], *, log_dir: bool, distributed: bool = False
) -> torch.device:
    """Set up the log (OUTPUT_DIR gets one with ``log_dir``), seed and device, and join the processes of torchrun."""
    launch = read_launch()
    if launch.world_size > 1 and not distributed:
        raise ConfigError(
            f"torchrun started {launch.world_size} processes of a command that runs in one: start it without torchrun"
        )
    if log_dir and launch.rank == 0:
        make_writable(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR")
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
    write_text(path, cfg.dump())
    logger.info("Resolved config: %s", path)


def config_of_process(cfg: Config, checkpoint: Mapping[str, Any] | None) -> Config:
    """Return the config of one process's share of the training, and log the changes."""
    world_size = get_world_size()
    if checkpoint is not None:
        check_same_processes(cfg, checkpoint, world_size)
    scaled = scale_to_processes(cfg, world_size)
    if world_size > 1:
        logger.info(describe_scaling(cfg, scaled, world_size))
    return scaled


def scale_to_processes(cfg: Config, world_size: int) -> Config:
    """Return the config of each of several processes; SOLVER.BATCH_SIZE is then the batch of one process.

    SOLVER.BATCH_SIZE_SCOPE "process": an iteration has ``world_size`` times as many images, so SOLVER.LR is multiplied
    and MAX_ITER, LR_STEPS and WARMUP_ITERS are divided by it (rounded down, as in lufficc/SSD, which does not change
    the warm-up). "global": only BATCH_SIZE is divided.
    """
    scaled = cfg.clone()
    scaled.defrost()
    solver = scaled.SOLVER
    if solver.BATCH_SIZE_SCOPE == "global":
        _check_divisible(solver.BATCH_SIZE, world_size)
        solver.BATCH_SIZE //= world_size
    elif world_size > solver.MAX_ITER:
        raise ConfigError(
            f"SOLVER.MAX_ITER is {solver.MAX_ITER}, which {world_size} processes share: set it to {world_size} or more"
        )
    else:
        solver.LR *= world_size
        solver.MAX_ITER //= world_size
        solver.LR_STEPS = [step // world_size for step in solver.LR_STEPS]
        solver.WARMUP_ITERS //= world_size
    scaled.freeze()
    return scaled


def describe_scaling(cfg: Config, scaled: Config, world_size: int) -> str:
    """Describe the images of an iteration and the changes of ``scale_to_processes``."""
    batch_size = scaled.SOLVER.BATCH_SIZE
    changes = [
        f"{key} {cfg.SOLVER[key]:g} -> {scaled.SOLVER[key]:g}"
        if isinstance(cfg.SOLVER[key], (int, float))
        else f"{key} {list(cfg.SOLVER[key])} -> {list(scaled.SOLVER[key])}"
        for key in ("LR", "MAX_ITER", "LR_STEPS", "WARMUP_ITERS")
        if cfg.SOLVER[key] != scaled.SOLVER[key]
    ]
    images = f"{world_size} processes of {batch_size} images: {world_size * batch_size} per iteration"
    return f"{images}; SOLVER.{', '.join(changes)}" if changes else f"{images}; the schedule is not scaled"


def check_same_processes(cfg: Config, checkpoint: Mapping[str, Any], world_size: int) -> None:
    """Raise ConfigError if a checkpoint of another number of processes is continued with BATCH_SIZE_SCOPE "process"."""
    before = checkpoint.get("world_size", world_size)
    if cfg.SOLVER.BATCH_SIZE_SCOPE == "process" and before != world_size:
        raise ConfigError(
            f"the checkpoint was trained by {before} process(es) of SOLVER.BATCH_SIZE images each, and {world_size} "
            "would count its iterations differently: start the same number, set another OUTPUT_DIR, or train with "
            "SOLVER.BATCH_SIZE_SCOPE global, whose iterations are the same for any number of processes"
        )


def _check_divisible(batch_size: int, world_size: int) -> None:
    if batch_size % world_size:
        down, up = batch_size // world_size * world_size, (batch_size // world_size + 1) * world_size
        nearest = f"{down} or {up}" if down else str(up)
        raise ConfigError(
            f"SOLVER.BATCH_SIZE is {batch_size} (SOLVER.BATCH_SIZE_SCOPE global), which {world_size} processes cannot "
            f"share evenly; set it to {nearest}"
        )
