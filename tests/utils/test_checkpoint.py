import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from ssd.utils.checkpoint import Checkpointer, load_optimizer_state
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.checkpoint_folder import TAG_FILE
from ssd.utils.errors import CheckpointError, OutputError
from tests.utils.small_net import Net, weights_of


class Training:
    """A model with its optimizer and schedule, trained on fixed noise."""

    def __init__(self, *, lr: float = 0.1, momentum: float = 0.9):
        torch.manual_seed(0)
        self.model = Net()
        self.optimizer = SGD(self.model.parameters(), lr=lr, momentum=momentum)
        self.scheduler = MultiStepLR(self.optimizer, [2, 4], gamma=0.5)

    def run(self, steps: range) -> list[float]:
        losses = []
        for step in steps:
            batch = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            loss = self.model(batch).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        return losses

    def checkpointer(self, save_dir: Path | str) -> Checkpointer:
        return Checkpointer(self.model, self.optimizer, self.scheduler, save_dir)


def test_resumed_training_is_the_unbroken_one(tmp_path: Path) -> None:
    unbroken = Training().run(range(6))
    first = Training()
    head = first.run(range(3))
    first.checkpointer(tmp_path).save("model_000003", iteration=3)
    second = Training()
    # The schedule of torch writes its learning rate at its next step only; that of ssd.solver does at once.
    second.optimizer.param_groups[0]["lr"] = first.optimizer.param_groups[0]["lr"]
    rest = second.checkpointer(tmp_path).load()
    assert rest == {"iteration": 3}
    assert head + second.run(range(3, 6)) == unbroken


def test_container_is_that_of_lufficc(tmp_path: Path) -> None:
    training = Training()
    training.run(range(1))
    training.checkpointer(tmp_path).save("model_final", iteration=1, class_names=["a", "b"])
    stored = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert stored.keys() == {"model", "optimizer", "scheduler", "iteration", "class_names"}
    assert list(stored["model"]) == list(training.model.state_dict())


def test_tag_file_holds_the_path_as_built_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpointer = Checkpointer(Net(), save_dir="out")
    assert not checkpointer.has_checkpoint()
    assert checkpointer.last_checkpoint() is None
    with pytest.raises(CheckpointError, match=TAG_FILE):
        checkpointer.load()
    checkpointer.save("model_000001")
    assert checkpointer.has_checkpoint()
    assert Path("out", TAG_FILE).read_text() == os.path.join("out", "model_000001.pth")
    assert checkpointer.last_checkpoint() == Path("out/model_000001.pth")
    assert sorted(path.name for path in Path("out").iterdir()) == [TAG_FILE, "model_000001.pth"]


def test_best_checkpoint_leaves_the_tag_alone(tmp_path: Path) -> None:
    checkpointer = Checkpointer(Net(), save_dir=tmp_path)
    checkpointer.save("model_000001")
    checkpointer.save("model_best", tag_last=False)
    assert (tmp_path / "model_best.pth").is_file()
    assert checkpointer.last_checkpoint() == tmp_path / "model_000001.pth"


@pytest.mark.parametrize("save_dir", ["old", "absolute"])
def test_moved_folder_is_still_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_dir: str) -> None:
    monkeypatch.chdir(tmp_path)
    Checkpointer(Net(), save_dir="old" if save_dir == "old" else tmp_path / "old").save("model_final")
    Path("old").rename("new")
    assert Checkpointer(Net(), save_dir="new").last_checkpoint() == Path("new/model_final.pth")


def test_without_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpointer = Checkpointer(Net())
    checkpointer.save("model_final")
    assert list(tmp_path.iterdir()) == []
    assert not checkpointer.has_checkpoint()


def test_refused_value_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    checkpointer = Checkpointer(Net(), save_dir=tmp_path)
    checkpointer.save("model_final", iteration=1)
    with pytest.raises(TypeError, match="'config'"):
        checkpointer.save("model_final", config=tmp_path)
    assert checkpointer.load() == {"iteration": 1}


def test_distributed_wrapper_is_unwrapped(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        net = Net()
        wrapped = nn.parallel.DistributedDataParallel(net)
        Checkpointer(wrapped, save_dir=tmp_path).save("model_final")
        saved = weights_of(net)
        with torch.no_grad():
            net.body[0].weight.zero_()
        Checkpointer(wrapped, save_dir=tmp_path).load()
        torch.testing.assert_close(weights_of(net), saved)
    finally:
        torch.distributed.destroy_process_group()
    assert list(torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]) == list(net.state_dict())


def test_load_skips_what_one_side_lacks(tmp_path: Path) -> None:
    training = Training()
    training.run(range(2))
    training.checkpointer(tmp_path).save("full", iteration=2)
    Checkpointer(training.model, save_dir=tmp_path).save("weights")
    assert Checkpointer(Net()).load(tmp_path / "full.pth") == {"iteration": 2}
    fresh = Training()
    assert fresh.checkpointer("").load(tmp_path / "weights.pth") == {}
    assert fresh.scheduler.last_epoch == 0
    torch.testing.assert_close(weights_of(fresh.model), weights_of(training.model))


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    Checkpointer(Net(num_classes=7), save_dir=tmp_path).save("other")
    training = Training()
    training.run(range(2))
    before, step = weights_of(training.model), training.scheduler.last_epoch
    with pytest.raises(CheckpointError):
        training.checkpointer(tmp_path).load()
    torch.testing.assert_close(weights_of(training.model), before, rtol=0, atol=0)
    assert training.scheduler.last_epoch == step


def test_optimizer_of_other_parameters_changes_nothing(tmp_path: Path) -> None:
    net = Net()
    optimizer = SGD(net.body.parameters(), lr=0.1, momentum=0.9)
    Checkpointer(net, optimizer, save_dir=tmp_path).save("partial")
    training = Training()
    before = weights_of(training.model)
    with torch.no_grad():
        net.body[0].weight.zero_()
    with pytest.raises(CheckpointError, match=r"\[2\].*\[4\]"):
        training.checkpointer(tmp_path).load()
    torch.testing.assert_close(weights_of(training.model), before, rtol=0, atol=0)


def test_hyper_parameters_stay_those_of_the_running_configuration() -> None:
    saved, running = Training(lr=0.1, momentum=0.9), Training(lr=0.01, momentum=0.5)
    saved.run(range(3))
    load_optimizer_state(running.optimizer, saved.optimizer.state_dict(), "file.pth")
    group = running.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.01, 0.5)
    for mine, theirs in zip(running.model.parameters(), saved.model.parameters(), strict=True):
        buffer = running.optimizer.state[mine]["momentum_buffer"]
        assert buffer.abs().sum() > 0
        torch.testing.assert_close(buffer, saved.optimizer.state[theirs]["momentum_buffer"])


def test_momentum_takes_the_layout_of_the_parameter() -> None:
    """A fused optimizer goes through both in the order of memory, whatever the file's layout was."""
    weights = torch.randn(4, 3, 3, 3)

    def run(layout: torch.memory_format, state: dict | None) -> tuple[Tensor, dict]:
        parameter = nn.Parameter(weights.clone(memory_format=layout))
        optimizer = SGD([parameter], lr=0.1, momentum=0.9, fused=True)
        if state:
            load_optimizer_state(optimizer, state, "file.pth")
        parameter.square().sum().backward()
        optimizer.step()
        return parameter.detach(), optimizer.state_dict()

    _, state = run(torch.contiguous_format, None)
    torch.testing.assert_close(
        run(torch.channels_last, state)[0], run(torch.contiguous_format, state)[0], rtol=1e-6, atol=1e-6
    )


def test_the_scale_of_gradients_is_kept(tmp_path: Path) -> None:
    net, scaler = Net(), GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(()))  # the scale is made at its first use
    Checkpointer(net, save_dir=tmp_path, scaler=scaler).save("model_final")
    resumed = GradScaler("cpu")
    Checkpointer(net, save_dir=tmp_path, scaler=resumed).load()
    assert resumed.get_scale() == 8.0
    Checkpointer(net, save_dir=tmp_path, scaler=GradScaler("cpu", enabled=False)).load()


def test_only_the_newest_stay(tmp_path: Path) -> None:
    checkpointer = Checkpointer(Net(), save_dir=tmp_path, keep=2, safetensors=True)
    checkpointer.save("model_best", tag_last=False)
    for iteration in (8, 9, 10, 100):
        checkpointer.save(f"model_{iteration:06d}", iteration=iteration)
    checkpointer.save("model_final", iteration=101)
    (tmp_path / "model_mine.pth").touch()
    checkpointer.save("model_000101", iteration=101)
    kept = {"model_best", "model_final", "model_000100", "model_000101"}
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == kept
    assert {path.stem for path in tmp_path.glob("*.pth")} == {*kept, "model_mine"}


def test_the_one_to_continue_from_stays_however_old(tmp_path: Path) -> None:
    """After going back to an earlier checkpoint, higher numbers than its own lie beside it."""
    checkpointer = Checkpointer(Net(), save_dir=tmp_path, keep=1)
    for iteration in (50, 60, 20):
        Checkpointer(Net(), save_dir=tmp_path).save(f"model_{iteration:06d}")
    checkpointer.save("model_000010", iteration=10)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["model_000010.pth", "model_000060.pth"]
    assert checkpointer.load() == {"iteration": 10}


class FullDisk:
    """Replaces ``os.fsync``: after some calls the disk has no room."""

    def __init__(self, free: int):
        self.free = free

    def __call__(self, descriptor: int) -> None:
        self.free -= 1
        if self.free < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("free", [0, 1, 2])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Calls 0 and 1 flush the checkpoint and its folder, call 2 the tag."""
    checkpointer = Checkpointer(Net(), save_dir=tmp_path)
    checkpointer.save("model_000001", iteration=1)
    monkeypatch.setattr(os, "fsync", FullDisk(free))
    with pytest.raises(OutputError, match=r"model_000002\.pth: .*No space left.* \S*model_000001\.pth"):
        checkpointer.save("model_000002", iteration=2)
    assert checkpointer.load() == {"iteration": 1}
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_is_a_file_or_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"model_final\.pth"):
        Checkpointer(Net(), save_dir=tmp_path / "out").save("model_final")
    monkeypatch.setattr(os, "fsync", FullDisk(0))
    with pytest.raises(OutputError, match="No space left on device"):
        Checkpointer(Net(), save_dir=tmp_path / "full").save("model_000001", iteration=1)
    assert list((tmp_path / "full").iterdir()) == []


def test_the_tag_comes_when_the_checkpoint_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And old checkpoints go when the tag is."""
    events: list[str] = []
    replace, fsync, unlink = os.replace, os.fsync, Path.unlink

    def spy_fsync(descriptor: int) -> None:
        events.append("flush " + ("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"))
        fsync(descriptor)

    def spy_replace(old: Path, new: Path) -> None:
        events.append(f"rename {Path(new).name}")
        replace(old, new)

    def spy_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".pth":
            events.append(f"remove {path.name}")
        unlink(path, missing_ok)

    checkpointer = Checkpointer(Net(), save_dir=tmp_path, keep=1)
    checkpointer.save("model_000001")
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    monkeypatch.setattr(Path, "unlink", spy_unlink)
    checkpointer.save("model_000002")
    assert events == [
        *("flush file", "rename model_000002.pth", "flush folder"),
        *("flush file", f"rename {TAG_FILE}", "flush folder"),
        "remove model_000001.pth",
    ]


def test_the_weights_that_detect_go_to_safetensors(tmp_path: Path) -> None:
    net, average = Net(), Net()
    checkpointer = Checkpointer(net, save_dir=tmp_path, average=average, safetensors=True)
    checkpointer.extra["class_names"] = ["__background__", "cell"]
    checkpointer.save("model_final", iteration=1)
    read = read_checkpoint(tmp_path / "model_final.safetensors")
    torch.testing.assert_close(read["model"], weights_of(average), rtol=0, atol=0)
    assert read["class_names"] == ["__background__", "cell"]
    assert Checkpointer(net).load(tmp_path / "model_final.safetensors") == {"class_names": read["class_names"]}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("optimizer", 3),
        ("optimizer", {"state": {}}),
        ("optimizer", {"state": {}, "param_groups": [3]}),
        ("optimizer", {"state": 3, "param_groups": [{"params": []}]}),
        ("scheduler", [1]),
        ("scheduler", {"last_epoch": "x"}),
        ("scaler", "x"),
    ],
)
def test_a_state_of_something_else_changes_nothing(tmp_path: Path, name: str, state: object) -> None:
    training = Training()
    torch.save({"model": weights_of(Net()), name: state}, tmp_path / "a.pth")
    before = weights_of(training.model)
    with pytest.raises(CheckpointError, match=rf'a\.pth.*"{name}"'):
        training.checkpointer(tmp_path).load(tmp_path / "a.pth")
    torch.testing.assert_close(weights_of(training.model), before, rtol=0, atol=0)
