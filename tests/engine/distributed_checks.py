"""What must hold in each of three processes: [torchrun --nproc_per_node 3] distributed_checks.py FOLDER.

FOLDER/<rank>.json gets "passed" or a traceback for each function check_*. They run in the order of the file.
"""

import io
import json
import logging
import sys
import time
import traceback
from datetime import timedelta
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from ssd.data.samplers import share_of_batches
from ssd.engine.finite import FiniteGuard
from ssd.engine.inference import gather_predictions, make_targets, mean_losses
from ssd.engine.make import make_step
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.step import Step
from ssd.modeling.box_head import LossSums
from ssd.modeling.detector import SSDDetector
from ssd.modeling.layers import BatchNorm2d
from ssd.structures import Container
from ssd.utils.distributed import (
    broadcast_state,
    broadcast_text,
    gather,
    get_rank,
    get_world_size,
    in_turns,
    join_processes,
    largest_of_all,
    leave_processes,
    mean_over_processes,
    parallelise,
    said_once,
    wait_for_all,
)
from ssd.utils.errors import TrainingError
from ssd.utils.logger import setup_logger
from tests.evaluation.sets import VOCSet
from tests.tiny import steady_detector, tiny_batch, tiny_config

FOLDER = Path(sys.argv[1])

Gradients = tuple[dict[str, Tensor], dict[str, Tensor]]


def make_detector(*overrides: object) -> SSDDetector:
    return steady_detector("INPUT.IMAGE_SIZE", 64, *overrides).double()


def whole_batch() -> tuple[Tensor, Container]:
    return tiny_batch(64, torch.float64)


def share(values: Tensor) -> Tensor:
    """This process's part of the rows."""
    return values.tensor_split(get_world_size())[get_rank()]


def step_of(*overrides: object) -> Gradients:
    """Return the losses and the gradients of a step on this process's share."""
    model = make_detector(*overrides)
    images, targets = whole_batch()
    targets = Container(**{name: share(targets[name]) for name in targets})
    step = make_step(tiny_config(*overrides), model, torch.optim.SGD(model.parameters(), lr=0.0), torch.float32)
    losses = step.forward_backward(share(images), targets)
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: Gradients, expected: Gradients) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)  # a third of N is a float32


def images_of(rank: int) -> list[Container]:
    """As many images as the rank, with as many objects as their index."""
    images = []
    for index in range(rank):
        image = Container(boxes=torch.full((index, 4), float(rank)), labels=torch.arange(index))
        image.img_width, image.img_height = 10 * rank, index + 1
        images.append(image)
    return images


def check_mean_and_text() -> None:
    assert mean_over_processes(torch.tensor([get_rank(), 5])).tolist() == [1, 5]
    assert [broadcast_text(text) for text in (f"größe {get_rank()}", "" if get_rank() == 0 else "x")] == ["größe 0", ""]


def check_gathering() -> None:
    rank = get_rank()
    gathered = gather({"common": torch.arange(rank), f"of {rank}": torch.full((2, rank), 0.5)})
    assert (gathered is None) == (rank > 0)
    if gathered is not None:
        assert [list(tensors) for tensors in gathered] == [["common", f"of {i}"] for i in range(3)]
        assert [tensors["common"].tolist() for tensors in gathered] == [[], [0], [0, 1]]
        assert [tensors[f"of {i}"].shape for i, tensors in enumerate(gathered)] == [(2, 0), (2, 1), (2, 2)]


def check_predictions_come_in_order() -> None:
    """Also where a process has none."""
    gathered = gather_predictions(images_of(get_rank()))
    assert (gathered is None) == (get_rank() > 0)
    if gathered is None:
        return
    assert [(image.img_width, image.img_height) for image in gathered] == [(10, 1), (20, 1), (20, 2)]
    for found, image in zip(gathered, [image for rank in range(3) for image in images_of(rank)], strict=True):
        assert list(found) == list(image)
        assert all(torch.equal(found[name], image[name]) for name in image)


def check_the_largest_of_all() -> None:
    assert [largest_of_all(number) for number in (0, 15 if get_rank() == 1 else 2, 0)] == [0, 15, 0]


def check_the_first_goes_first() -> None:
    path = FOLDER / "turns.txt"
    with in_turns():
        time.sleep(0.3 if get_rank() == 0 else 0)
        with open(path, "a") as file:
            file.write(f"{get_rank()}\n")
    wait_for_all("writing")
    ranks = path.read_text().split()
    assert (ranks[0], sorted(ranks)) == ("0", ["0", "1", "2"])


def check_who_warns() -> None:
    sys.stderr, errors = io.StringIO(), sys.stderr
    try:
        setup_logger(None, rank=get_rank())
        with said_once():
            logging.getLogger("ssd.data").warning("the same everywhere")
        logging.getLogger("ssd.data").info("progress")
        logging.getLogger("ssd.data").warning("strange")
        text = sys.stderr.getvalue()
    finally:
        sys.stderr = errors
    is_other = get_rank() > 0
    found = text.startswith(f"rank {get_rank()}: "), text.count("\n"), "strange" in text
    assert found == (is_other, is_other, is_other)


def check_only_the_first_writes_event_files() -> None:
    folder = FOLDER / f"events_{get_rank()}"
    TrainingMonitor(0, 1, torch.device("cpu"), folder).close()
    assert folder.exists() == (get_rank() == 0)


def check_one_state_for_all() -> None:
    model = BatchNorm2d(3)
    for tensor in model.state_dict().values():
        tensor.fill_(get_rank() + 1)
    broadcast_state(model)
    assert all((tensor == 1).all() for tensor in model.state_dict().values())


def check_a_step_is_that_of_the_whole_batch() -> None:
    """Also with frozen stages, and in parts of other shares of positives than those of the processes."""
    assert_same(step_of(), EXPECTED["plain"])
    assert_same(step_of("SOLVER.MICRO_BATCHES", 2, "SOLVER.BATCH_SIZE", 2), EXPECTED["plain"])
    assert_same(step_of("MODEL.BACKBONE.FREEZE_STAGES", 2), EXPECTED["frozen"])


def annotated() -> VOCSet:
    """The objects of the whole batch, in images of one pixel."""
    _, targets = whole_batch()
    rows = zip(targets["boxes"].tolist(), targets["labels"].tolist(), strict=True)
    images = [[pair for pair in zip(*row, strict=True) if pair[1]] for row in rows]
    return VOCSet(images, "abc")


@torch.inference_mode()
def validation_losses(batch_size: int) -> dict[str, float]:
    """Measure them on this process's share of the batches."""
    model = make_detector().eval()
    images, _ = whole_batch()
    losses = []
    for ids in share_of_batches(6, batch_size, get_rank(), get_world_size()):
        targets = make_targets(annotated(), [[1, 1]] * len(ids), ids)
        losses.append(model.box_head.losses(model.predict(images[ids]), targets))
    return mean_losses(losses)


def check_the_validation_loss_is_that_of_one_process() -> None:
    """To the bit; of two batches of four images rank 0 has none."""
    for batch_size in (1, 4):
        found = validation_losses(batch_size)
        assert found == (EXPECTED[f"validation, {batch_size}"] if get_rank() == 0 else {})


def check_a_compiled_step() -> None:
    with mock.patch("torch.compile", partial(torch.compile, backend="eager")):
        assert_same(step_of("SOLVER.COMPILE", True), EXPECTED["plain"])


def check_scaled_losses_and_an_overflow_in_one_process() -> None:
    """All leave the step out, and all halve the scale."""
    model = nn.Linear(1, 1, bias=False)
    scaler = GradScaler("cpu", init_scale=1024.0)
    before = model.weight.item()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = Step(parallelise(Losses(model)), optimizer, FiniteGuard(model, 0), scaler=scaler)
    value = torch.tensor([[float(get_rank())]])  # the mean is 1, and so is the gradient
    step.update(step.forward_backward(value, Container()))
    assert model.weight.item() == before - 1
    value = torch.tensor([[torch.inf if get_rank() == 1 else 0.0]])
    losses = step.forward_backward(value, Container())
    step.update(losses)
    assert (model.weight.item(), scaler.get_scale()) == (before - 1, 512.0)
    assert not losses["total_loss"].isfinite()  # in every process


class Losses(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, targets: Container) -> LossSums:
        return LossSums({"loss": self.model(images).sum()}, torch.ones(1))


def check_a_process_that_does_not_come_is_named() -> None:
    """The last: it ends the connection."""
    if get_rank() == 2:
        time.sleep(2)
        return
    with pytest.raises(TrainingError, match="not all processes came to the end of the nap: ") as caught:
        wait_for_all("the nap", timeout=timedelta(seconds=1))
    message = str(caught.value)
    assert ("Ranks 2 failed to pass" in message) == (get_rank() == 0)


if __name__ == "__main__":
    EXPECTED = {
        **{f"validation, {batch_size}": validation_losses(batch_size) for batch_size in (1, 4)},
        "plain": step_of(),
        "frozen": step_of("MODEL.BACKBONE.FREEZE_STAGES", 2),
    }
    join_processes(torch.device("cpu"))
    passed = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                passed[name] = "passed"
            except Exception:  # noqa: BLE001  # told in the report
                passed[name] = traceback.format_exc()
    (FOLDER / f"{get_rank()}.json").write_text(json.dumps(passed))
    leave_processes()
