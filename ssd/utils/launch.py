"""What torchrun tells a process: which of how many it is, and so which GPU is its own."""

import os
from typing import NamedTuple

import torch

from ssd.utils.device import select_device
from ssd.utils.errors import ConfigError, DeviceError

_VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Launch(NamedTuple):
    """What torchrun says about this process.

    Attributes:
        rank: its number among all processes.
        world_size: how many they are.
        local_rank: its number among those of this machine.
        local_world_size: how many these are.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def read_launch() -> Launch:
    """Read the environment that torchrun sets; without it there is one process.

    Raises:
        ConfigError: WORLD_SIZE is above 1 and torchrun's other variables are missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Launch()
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set: start several processes "
            "with torchrun, or unset WORLD_SIZE"
        )
    return Launch(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


def select_local_device(name: str, launch: Launch) -> torch.device:
    """Return the device of MODEL.DEVICE for this process: of several on a machine with GPUs, each takes one.

    Raises:
        DeviceError: there is no such device, or none for this process alone.
    """
    device = select_device(name)
    if launch.world_size == 1 or device.type == "cpu":
        return device
    if device.type == "mps":
        raise DeviceError("device 'mps' is for one process; start it without torchrun, or set MODEL.DEVICE to cpu")
    if ":" in name:
        raise DeviceError(
            f"device {name!r}: with several processes LOCAL_RANK chooses the GPU; set MODEL.DEVICE to cuda or auto"
        )
    count = torch.cuda.device_count()
    if launch.local_rank >= count:
        raise DeviceError(
            f"this machine shows {count} GPU(s) for {launch.local_world_size} processes; start torchrun with "
            f"--nproc_per_node {count}, or set MODEL.DEVICE to cpu"
        )
    return torch.device("cuda", launch.local_rank)
