"""Runs train.py or test.py in each of several processes, and writes what the tests ask about.

    [torchrun ...] recorded_run.py RECORD SCRIPT [arguments of the script]

RECORD.<rank>.json gets the total losses of a training. In the environment:
DOUBLE=1: the network computes in float64.
KILL="<rank> <iteration> <file>": that process kills itself after that iteration, unless the file exists, which it
makes first.

The backbone "plain" has no batch norm.
"""

import json
import os
import runpy
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import ssd.engine.make
import ssd.modeling.detector
import ssd.weights.initial_model
from ssd.data.transforms.batch import BatchTransform
from ssd.engine.monitor import TrainingMonitor
from ssd.modeling import registry

ROOT = Path(__file__).parents[2]
RANK = int(os.environ.get("RANK", "0"))

losses: list[float] = []
end_step = TrainingMonitor.end_step
build_detection_model = ssd.modeling.detector.build_detection_model
transform = BatchTransform.__call__


@registry.BACKBONES.register("plain")
class Plain(nn.Module):
    """Convolutions and ReLU; features at strides 8, 16, 32 and 64."""

    def __init__(self, cfg: Any, pretrained: bool):
        super().__init__()
        channels = (3, 16, 32, 64, 64, 64, 64)
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 3, 2, 1) for pair in pairwise(channels))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features: list[Tensor] = []
        for layer in self.layers:
            images = layer(images).relu()
            features.append(images)
        return tuple(features[2:])


def record(monitor: TrainingMonitor, values: dict, num_images: int, lr: float) -> None:
    end_step(monitor, values, num_images, lr)
    losses.append(values["total_loss"].item())
    if "KILL" in os.environ:
        rank, iteration, mark = os.environ["KILL"].split()
        if (int(rank), int(iteration)) == (RANK, len(losses)) and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)


def compute_in_float64() -> None:
    for module in (ssd.weights.initial_model, ssd.engine.make):  # for new models, and for continued ones
        module.build_detection_model = lambda *args, **kwargs: build_detection_model(*args, **kwargs).double()
    BatchTransform.__call__ = lambda self, *args: transform(self, *args).double()  # type: ignore[method-assign]


if __name__ == "__main__":
    target, script = sys.argv[1:3]
    TrainingMonitor.end_step = record  # type: ignore[method-assign,assignment]
    if "DOUBLE" in os.environ:
        compute_in_float64()
    sys.argv = sys.argv[2:]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    finally:
        Path(f"{target}.{RANK}.json").write_text(json.dumps(losses))
