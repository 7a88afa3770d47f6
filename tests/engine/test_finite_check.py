"""What is told and kept of steps that are not finite, and when the training ends."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ssd.data.replay import BatchReplay, ReplayedBatch
from ssd.engine.finite_check import FiniteCheck, describe
from ssd.engine.reproducer import describe_batch
from torch import Tensor

from ssd.config import Config, load_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.engine.finite import BadStep, FiniteGuard
from ssd.engine.step import make_step_options, step
from ssd.modeling.detector import build_detection_model
from ssd.solver import make_lr_scheduler, make_optimizer
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.checkpoint_folder import has_checkpoint
from ssd.utils.errors import CheckpointError, ImageError, TrainingError
from tests.forks import Forks

ROOT = Path(__file__).parents[2]


class Run:
    """A training in which the losses of some iterations are made what they should not be."""

    def __init__(self, cfg: Config, folder: Path):
        torch.manual_seed(0)
        self.datasets = build_datasets(cfg, is_train=True)
        self.cfg = with_num_classes(cfg, self.datasets[0].class_names)
        self.model = build_detection_model(self.cfg)
        self.optimizer = make_optimizer(self.cfg, self.model)
        self.options = make_step_options(self.cfg, self.model, torch.float32)
        self.loader = make_train_loader(self.cfg, self.datasets)
        self.replay: Callable[[int], ReplayedBatch] = BatchReplay(self.loader, cfg.DATASETS.TRAIN, self.datasets)
        scheduler = make_lr_scheduler(self.cfg, self.optimizer)
        self.checkpointer = Checkpointer(self.model, self.optimizer, scheduler, folder)
        self.checkpointer.extra = {
            "class_names": list(self.datasets[0].class_names),
            "config": self.cfg.dump(),
            "world_size": 1,
        }
        assert self.options.guard is not None
        self.guard: FiniteGuard = self.options.guard
        self.seen: list[Tensor] = []
        self.losses: list[float] = []

    def train(self, bad: dict[int, float], period: int = 1) -> None:
        check = FiniteCheck(self.guard, self.checkpointer, self.replay)
        transform = make_batch_transform(self.cfg, is_train=True)
        self.model.train()
        for iteration, (images, targets, _) in enumerate(self.loader, start=1):
            self.seen.append(images)
            pixels = transform(images, targets, iteration - 1)
            pixels[0] *= bad.get(iteration, 1.0)
            losses = step(self.model, self.optimizer, pixels, targets, self.options)
            self.losses.append(losses["total_loss"].item())
            if iteration % period == 0:
                check(iteration)


@pytest.fixture
def make_run(config_file: Path, tmp_path: Path) -> Callable[..., Run]:
    def make(limit: int = 0, *overrides: object, name: str = "out") -> Run:
        values = ["SOLVER.MAX_ITER", 8, "SOLVER.MAX_NONFINITE_STEPS", limit, "OUTPUT_DIR", str(tmp_path / name)]
        return Run(load_config(config_file, [*values, *overrides]), tmp_path / name)

    return make


NAN = float("nan")


def test_the_first_ends_the_training(
    make_run: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Named, reproducible, and nothing to continue from."""
    run = make_run()
    expected = (
        r"the loss is nan at iteration 3 \(reg_loss nan, cls_loss nan\): .*Lower SOLVER\.LR.*nonfinite_000003\.pth"
    )
    with pytest.raises(TrainingError, match=expected):
        run.train({3: NAN})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "nonfinite_000003.pth",
        "nonfinite_000003_model.pth",
    }
    assert not has_checkpoint(tmp_path / "out")

    kept = torch.load(tmp_path / "out" / "nonfinite_000003.pth", weights_only=True)
    assert torch.equal(kept["images"], run.seen[2])
    assert kept["images"].dtype == torch.uint8
    assert (kept["iteration"], kept["seed"], kept["world_size"]) == (3, run.cfg.SOLVER.SEED, 1)
    assert kept["losses"]["total_loss"] != kept["losses"]["total_loss"]
    assert kept["class_names"] == list(run.datasets[0].class_names)
    assert kept["datasets"] == ["train_scenes", "train_scenes"]
    ids = [run.datasets[0].get_annotation(row)[0] for row in range(8)]
    assert set(kept["image_ids"]) <= set(ids)
    for image_id in kept["image_ids"]:
        assert f"train_scenes {image_id}: " in caplog.text
    weights = read_checkpoint(tmp_path / "out" / "nonfinite_000003_model.pth")
    assert weights["iteration"] == 2
    assert weights["nonfinite_steps"] == 1


def test_what_is_kept_reproduces_the_step(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """With the weights that the step met, the batch gives the losses that the iteration would have had."""
    good, bad = make_run(name="good"), make_run()
    good.train({})
    with pytest.raises(TrainingError):
        bad.train({3: NAN}, period=8)  # told only five iterations later
    kept = torch.load(tmp_path / "out" / "nonfinite_000003.pth", weights_only=True)
    model = build_detection_model(good.cfg)
    model.load_state_dict(read_checkpoint(tmp_path / "out" / "nonfinite_000003_model.pth")["model"])
    targets = Container(**kept["targets"])
    pixels = make_batch_transform(good.cfg, is_train=True)(kept["images"], targets, kept["iteration"] - 1)
    losses = model.train()(pixels, targets)
    assert sum(loss.item() for loss in losses.values()) == pytest.approx(good.losses[2], rel=1e-5)


def test_the_example_of_the_documentation(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrainingError):
        make_run(0, name="outputs").train({3: NAN})
    page = (ROOT / "docs" / "reproducibility.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0].replace("000123", "000003")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "reproducibility.md", "exec"), {})
    kept = torch.load(tmp_path / "outputs" / "nonfinite_000003.pth", weights_only=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == kept["image_ids"]
    assert all("'reg_loss': " in line and "nan" not in line for line in lines)


def test_some_are_left_out(make_run: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(2)
    run.train({2: NAN, 5: NAN}, period=4)
    assert len(run.losses) == 8
    assert all(parameter.isfinite().all() for parameter in run.model.state_dict().values())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "nonfinite_000002.pth",
        "nonfinite_000005.pth",
    ]
    assert run.checkpointer.extra["nonfinite_steps"] == 2
    assert "the loss is nan at iteration 5" in caplog.text
    assert caplog.text.count("the step is left out") == 2


def test_one_too_many_ends_it(make_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"iteration 4 .*; before it 1 such step\(s\) were left out \(SOLVER\.MAX_NONFINITE"
    ):
        make_run(1).train({2: NAN, 4: NAN, 6: NAN}, period=8)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"nonfinite_000002.pth", "nonfinite_000004.pth", "nonfinite_000004_model.pth"}


def test_of_many_the_first_few_are_kept(make_run: Callable[..., Run], tmp_path: Path) -> None:
    make_run(9).train(dict.fromkeys(range(1, 9), NAN))
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == [f"nonfinite_{i:06d}" for i in range(1, 6)]


def test_a_continued_run_counts_on(make_run: Callable[..., Run]) -> None:
    run = make_run(2)
    check = FiniteCheck(run.guard, run.checkpointer)
    check.resume({"nonfinite_steps": 2})
    assert run.checkpointer.extra["nonfinite_steps"] == 2
    run.checkpointer.extra.pop("nonfinite_steps")
    check.resume({})
    assert run.guard.count == 0
    check.resume({"nonfinite_steps": 2})
    run.replay = lambda iteration: pytest.fail("not asked for here")
    images, targets, _ = next(iter(run.loader))
    run.model.train()
    step(run.model, run.optimizer, images.float() * NAN, targets, run.options)
    with pytest.raises(TrainingError, match="iteration 41"):
        check(41)


@pytest.mark.parametrize("value", [-1, "2", 2.0, True, None, 2**70])
def test_a_count_that_is_none(make_run: Callable[..., Run], value: object) -> None:
    run = make_run()
    with pytest.raises(CheckpointError, match="nonfinite_steps must be 0 or more, but is"):
        FiniteCheck(run.guard, run.checkpointer).resume({"nonfinite_steps": value})


def test_weights_that_are_not_finite_are_not_saved(make_run: Callable[..., Run]) -> None:
    """The gradients were, and the next loss has not come yet."""
    run = make_run()
    with torch.no_grad():
        next(run.model.parameters())[0] = float("inf")
    with pytest.raises(TrainingError, match=r"the norm of the weights is inf after iteration 7: .*Lower SOLVER\.LR"):
        FiniteCheck(run.guard, run.checkpointer)(7)


@pytest.mark.parametrize("place", ["the data", "the disk"])
def test_the_reason_is_told_even_if_nothing_can_be_kept(
    make_run: Callable[..., Run], place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    if place == "the disk":
        run.checkpointer.save_dir = str(tmp_path / "file" / "folder")
        (tmp_path / "file").write_text("no folder")
    else:

        def fail(iteration: int) -> ReplayedBatch:
            raise ImageError("gone.jpg: cannot be read")

        run.replay = fail
    with pytest.raises(TrainingError, match="the loss is nan at iteration 1"):
        run.train({1: NAN})
    assert "What reproduces the step could not be saved" in caplog.text


def test_nothing_is_said_where_nothing_is_wrong(
    make_run: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    run.train({}, period=3)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not (tmp_path / "out").exists()


def test_in_words() -> None:
    inf = float("inf")
    losses = {"total_loss": inf, "reg_loss": inf, "cls_loss": 2.25}
    assert describe(BadStep(12, losses, NAN)) == "the loss is inf at iteration 12 (reg_loss inf, cls_loss 2.25)"
    losses = {"total_loss": 3.5, "reg_loss": 1.25, "cls_loss": 2.25}
    assert describe(BadStep(12, losses, NAN)) == "the gradient has the norm nan at iteration 12 (total_loss 3.5)"


def test_a_batch_in_words() -> None:
    boxes = torch.zeros(2, 12, 4)
    boxes[0, 0] = torch.tensor([0.25, 0.5, 0.75, 1.0])
    boxes[0, 1] = torch.tensor([0.0, 0.0, 0.05, 0.5])
    labels = torch.zeros(2, 12, dtype=torch.int64)
    labels[0, :2] = torch.tensor([2, 1])
    names = ["__background__", "cat", "dog"]

    def batch(labels: Tensor, count: int = 1) -> ReplayedBatch:
        images = torch.zeros(2 * count, 3, 100, 200, dtype=torch.uint8)
        targets = Container(boxes=boxes.repeat(count, 1, 1), labels=labels.repeat(count, 1))
        return ReplayedBatch(images, targets, ["a", "b"] * count, [7, "x"] * count, 0)

    text = describe_batch(batch(labels), names)
    assert text == "  a 7: dog (50.0, 50.0, 150.0, 100.0), cat (0.0, 0.0, 10.0, 50.0)\n  b x: no boxes"
    crowded = describe_batch(batch(torch.ones(2, 12, dtype=torch.int64)), names).splitlines()
    assert crowded[0].endswith("cat (0.0, 0.0, 0.0, 0.0), and 2 more")
    assert describe_batch(batch(labels, 65), names).splitlines()[-2:] == ["  b x: no boxes", "  and 2 more"]


def test_several_processes_decide_alike(forks: Forks, config_file: Path, tmp_path: Path) -> None:
    """The batch that is kept is that of all of them, and rank 0 has written it before any of them ends."""
    solver = {"LR": 1e30, "WARMUP_ITERS": 0, "MAX_ITER": 20, "MAX_NONFINITE_STEPS": 1}
    options = [word for name, value in solver.items() for word in (f"SOLVER.{name}", value)]
    command = (ROOT / "train.py", "--config-file", config_file, "--skip-test", "--log_step", 4, *options)
    statuses, said = forks(*command, cwd=tmp_path, number=2)
    assert statuses == [1, 1]
    problem = r"the loss is (nan|inf) at iteration (\d+) .*; before it 1 such step\(s\) were left out"
    found = {rank: re.search(f"error: rank {rank}: {problem}", said) for rank in (0, 1)}
    assert found[0], said
    assert found[1], said
    assert found[0][2] == found[1][2]
    assert "Traceback" not in said
    last = int(found[0][2])
    files = sorted(path.name for path in (tmp_path / "out").glob("nonfinite_*"))
    assert files == [f"nonfinite_{last - 1:06d}.pth", f"nonfinite_{last:06d}.pth", f"nonfinite_{last:06d}_model.pth"]
    kept = torch.load(tmp_path / "out" / files[1], weights_only=True)
    assert len(kept["images"]) == len(kept["image_ids"]) == 4  # two of each
    assert kept["world_size"] == 2
    assert not has_checkpoint(tmp_path / "out")
