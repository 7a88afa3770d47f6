"""The training loop: it learns, stops cleanly and notices divergence; test_monitor.py has a broken run."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.amp import GradScaler
from torch.utils._python_dispatch import TorchDispatchMode

from ssd.commands.train import make_training
from ssd.config import Config, load_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_test_loader
from ssd.engine.finite import FiniteCheck, FiniteGuard
from ssd.engine.inference import evaluate_datasets
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.resume import find_training
from ssd.engine.step import Step
from ssd.engine.trainer import Intervals, Training, train
from ssd.solver import ModelAverage, make_lr_scheduler, make_optimizer
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.errors import CheckpointError, TrainingError
from ssd.utils.interrupt import InterruptGuard
from tests.engine.test_step import Line

ROOT = Path(__file__).parents[2]
NEVER = Intervals(log=0, save=0, evaluate=0)
MakeRun = Callable[..., "Run"]


class Run:
    """A training as the command builds it, whose losses and evaluations are recorded."""

    def __init__(self, cfg: Config, output_dir: Path):
        torch.manual_seed(0)
        self.datasets = build_datasets(cfg, is_train=True)
        cfg = cfg.with_overrides(["OUTPUT_DIR", str(output_dir)])
        self.cfg = with_num_classes(cfg, self.datasets[0].class_names)
        self.output_dir = output_dir
        self.losses: list[float] = []
        self.evaluated: list[int] = []

    def make(self, intervals: Intervals = NEVER) -> Training:
        stored = find_training(self.output_dir)
        return make_training(self.cfg, self.datasets, [], torch.device("cpu"), stored, intervals=intervals)

    def train(self, intervals: Intervals = NEVER, on_step: Callable[[int], None] | None = None) -> bool:
        training = replace(self.make(intervals), evaluate=self.evaluated.append)
        monitor = training.monitor
        end_step = monitor.end_step

        def record(losses: dict, num_images: int, lr: float) -> None:
            end_step(losses, num_images, lr)
            self.losses.append(losses["total_loss"].item())
            if on_step:
                on_step(training.start_iteration + len(self.losses))

        monitor.end_step = record  # type: ignore[method-assign]
        with training.interrupt:
            return train(training)


@pytest.fixture
def make_run(config_file: Path, tmp_path: Path) -> MakeRun:
    """Make a run of overrides whose output goes to a folder of tmp_path."""
    return lambda name, *overrides: Run(load_config(config_file, overrides), tmp_path / name)


@pytest.fixture
def first_two(scenes: Path) -> Iterator[str]:
    """A split of two training scenes that have objects, in the folder that other tests share."""
    lines = (scenes / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    with_objects = [name for name in lines if "<object>" in (scenes / "Annotations" / f"{name}.xml").read_text()]
    path = scenes / "ImageSets" / "Main" / "two.txt"
    path.write_text("\n".join(with_objects[:2]))
    yield path.stem
    path.unlink()


def test_two_images_are_learnt_by_heart(first_two, make_run, tmp_path) -> None:
    """Near-zero loss, and AP 1.0 on the very images."""
    run = make_run(
        "out",
        *("DATASETS.CUSTOM.train_scenes.SPLIT", first_two, "DATASETS.CUSTOM.test_scenes.SPLIT", first_two),
        *("SOLVER.MAX_ITER", 150, "SOLVER.LR_STEPS", [110], "SOLVER.LR", 1e-2),
        *("INPUT.AUGMENTATION.CROP", False, "INPUT.AUGMENTATION.EXPAND", False),
        *("INPUT.AUGMENTATION.PHOTOMETRIC", False, "INPUT.AUGMENTATION.MIRROR", False),
    )
    assert run.train()
    assert run.losses[0] > 5
    assert run.losses[-1] < 0.05

    datasets = build_datasets(run.cfg, is_train=False, class_names=run.datasets[0].class_names)
    loaders = {"two": make_test_loader(run.cfg, datasets[0])}
    transform = make_batch_transform(run.cfg, is_train=False)
    (evaluation,) = evaluate_datasets(run.make().detector, loaders, transform, output_dir=tmp_path / "inference")
    assert evaluation.result.main == 1.0
    saved = torch.load(tmp_path / "inference" / "two" / "predictions.pth", weights_only=True)
    assert [prediction["img_width"] for prediction in saved] == [128, 128]


def test_the_average_is_the_model_of_a_checkpoint(make_run, tmp_path) -> None:
    """Whether the average is switched on or off, a run continues from the trained weights."""
    averaged = make_run("out", "SOLVER.MAX_ITER", 2, "SOLVER.EMA", 0.5)
    averaged.train()
    state = torch.load(tmp_path / "out" / "model_final.pth")
    again = averaged.make()
    assert again.average is not None
    torch.testing.assert_close(state["model"], dict(again.average.module.state_dict()))
    torch.testing.assert_close(state["training_model"], dict(again.detector.state_dict()))
    assert list(state["model"]) == list(again.detector.state_dict())

    plain = make_run("out", "SOLVER.MAX_ITER", 2).make()
    torch.testing.assert_close(dict(plain.detector.state_dict()), state["training_model"])
    plain.checkpointer.save("plain", iteration=2)
    again = averaged.make()
    assert again.average is not None
    torch.testing.assert_close(dict(again.average.module.state_dict()), state["training_model"])


class WaitsForTheDevice(TorchDispatchMode):
    """Counts the operations that bring a value from the device to the host."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        waits = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        self.count += func in waits
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_but_the_report(config_file) -> None:
    model, config = Line(), load_config(config_file, ["SOLVER.OPTIMIZER", "adamw"])
    optimizer = make_optimizer(config, model)
    guard, checkpointer = FiniteGuard(model, 1), Checkpointer(model)
    monitor, waits = TrainingMonitor(0, 9, torch.device("cpu")), WaitsForTheDevice()
    before_log: list[int] = []
    log = monitor.log
    monitor.log = lambda iteration: (before_log.append(waits.count), log(iteration))  # type: ignore[assignment]
    training = Training(
        model,  # type: ignore[arg-type]
        ModelAverage(model, 0.5),  # type: ignore[arg-type]
        [(torch.rand(4, 3, 2, 2), Container(labels=torch.ones(4, 1)), torch.arange(4))] * 9,
        lambda images, targets, iteration: images,
        Step(model, optimizer, guard, scaler=GradScaler("cpu"), max_norm=1.0, micro_batches=2),
        make_lr_scheduler(config, optimizer),
        start_iteration=0,
        max_iter=9,
        seed=0,
        intervals=NEVER,
        monitor=monitor,
        checkpointer=checkpointer,
        evaluate=lambda iteration: None,  # type: ignore[arg-type]
        check=FiniteCheck(guard, checkpointer, lambda iteration: []),
        interrupt=InterruptGuard(),
    )
    with waits:
        train(training)
    assert before_log == [0]
    assert waits.count > 0


def test_a_second_interrupt_stops_at_once(make_run, tmp_path) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def interrupt_twice(iteration: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        make_run("out", "SOLVER.MAX_ITER", 5).train(on_step=interrupt_twice)
    assert not list((tmp_path / "out").glob("*.pth"))
    assert signal.getsignal(signal.SIGINT) is handler


def test_intervals_and_continuing_a_finished_run(make_run, tmp_path) -> None:
    """Nothing is left to do, also where the run was longer; another optimizer cannot continue it."""
    run = make_run("out", "SOLVER.MAX_ITER", 6)
    assert run.train(Intervals(log=2, save=4, evaluate=3))
    final = tmp_path / "out" / "model_final.pth"
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pth")) == ["model_000004.pth", "model_final.pth"]
    assert run.evaluated == [3]  # the last evaluation is the caller's
    assert (tmp_path / "out" / "last_checkpoint.txt").read_text() == str(final)
    for max_iter in (6, 2):
        again = make_run("out", "SOLVER.MAX_ITER", max_iter)
        assert again.train()
        assert again.losses == []
        state = torch.load(final, weights_only=True)
        assert (state["iteration"], state["scheduler"]) == (6, {"last_epoch": 6})
    with pytest.raises(CheckpointError, match=r"SOLVER\.OPTIMIZER"):
        make_run("out", "SOLVER.OPTIMIZER", "adamw", "SOLVER.MAX_ITER", 7).train()


def test_divergence_is_noticed_before_it_is_saved(make_run, tmp_path) -> None:
    run = make_run("out", "SOLVER.MAX_ITER", 20, "SOLVER.LR", 1e30, "SOLVER.WARMUP_ITERS", 0)
    with pytest.raises(TrainingError, match=r"(nan|inf) at iteration \d+.*SOLVER\.LR.*\.jpg"):
        run.train(Intervals(log=0, save=4, evaluate=0))
    assert not list((tmp_path / "out").glob("*.pth"))


def test_several_processes_stop_alike_where_the_loss_diverges(forks, config_file, tmp_path) -> None:
    """The message names the images of both."""
    solver = {"LR": 1e30, "WARMUP_ITERS": 0, "MAX_ITER": 20, "MAX_NONFINITE_STEPS": 1}
    options = [word for name, value in solver.items() for word in (f"SOLVER.{name}", value)]
    command = (ROOT / "train.py", "--config-file", config_file, "--skip-test", "--log_step", 4, *options)
    statuses, said = forks(*command, cwd=tmp_path, number=2)
    assert statuses == [1, 1]
    problem = r"the loss is (?:nan|inf) at iteration (\d+) .*MAX_NONFINITE_STEPS.*: (.*\.jpg)"
    found = [match.groups() for rank in (0, 1) for match in re.finditer(f"error: rank {rank}: {problem}", said)]
    assert len(found) == 2, said
    assert found[0] == found[1]
    assert found[0][1].count(".jpg") == 4  # two of each process
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("*.pth"))
