import errno
import logging
import os
import shutil
import stat
import sys
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import MultiStepLR

from ssd.utils.checkpoint import (
    TAG_FILE,
    Checkpointer,
    has_checkpoint,
    last_checkpoint,
    load_optimizer_state,
    read_last,
    tag_checkpoint,
)
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.errors import CheckpointError, MissingPackageError, OutputError
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


def load(checkpointer: Checkpointer, path: Path | None = None) -> dict[str, Any]:
    """Restore a checkpoint; None = the last one of the folder."""
    return checkpointer.restore(read_checkpoint(path or last_checkpoint(checkpointer.save_dir)), "file.pth")


def test_resumed_training_is_the_unbroken_one(tmp_path) -> None:
    unbroken = Training().run(range(6))
    first = Training()
    head = first.run(range(3))
    first.checkpointer(tmp_path).save("model_000003", iteration=3)
    second = Training()
    # The schedule of torch writes its learning rate at its next step only; that of ssd.solver does at once.
    second.optimizer.param_groups[0]["lr"] = first.optimizer.param_groups[0]["lr"]
    assert load(second.checkpointer(tmp_path)) == {"iteration": 3}
    assert head + second.run(range(3, 6)) == unbroken
    stored = torch.load(tmp_path / "model_000003.pth", weights_only=True)
    assert stored.keys() == {"model", "optimizer", "scheduler", "iteration"}
    assert list(stored["model"]) == list(first.model.state_dict())


def test_tag_file_holds_the_path_as_built_from_the_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Checkpointer(Net()).save("model_final")  # without a folder nothing is written
    assert list(tmp_path.iterdir()) == []
    checkpointer = Checkpointer(Net(), save_dir="out")
    assert not has_checkpoint("out")
    assert last_checkpoint("out") is None
    checkpointer.save("model_000001")
    checkpointer.save("model_best", tag_last=False)
    assert has_checkpoint("out")
    assert Path("out", TAG_FILE).read_text() == os.path.join("out", "model_000001.pth")
    assert sorted(path.name for path in Path("out").iterdir()) == [TAG_FILE, "model_000001.pth", "model_best.pth"]
    Path("out").rename("new")  # a moved folder is still continued
    assert last_checkpoint("new") == Path("new/model_000001.pth")


def test_distributed_wrapper_is_unwrapped(tmp_path) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        net = Net()
        Checkpointer(nn.parallel.DistributedDataParallel(net), save_dir=tmp_path).save("model_final")
    finally:
        torch.distributed.destroy_process_group()
    assert list(torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]) == list(net.state_dict())


def test_load_skips_what_one_side_lacks(tmp_path) -> None:
    training = Training()
    training.run(range(2))
    training.checkpointer(tmp_path).save("full", iteration=2)
    Checkpointer(training.model, save_dir=tmp_path).save("weights")
    assert load(Checkpointer(Net()), tmp_path / "full.pth") == {"iteration": 2}
    fresh = Training()
    assert load(fresh.checkpointer(""), tmp_path / "weights.pth") == {}
    assert fresh.scheduler.last_epoch == 0
    torch.testing.assert_close(weights_of(fresh.model), weights_of(training.model))


def make_other(kind: str) -> Checkpointer:
    net = Net(num_classes=7 if kind == "classes" else 3)
    if kind == "parameters":
        return Checkpointer(net, SGD(net.body.parameters(), lr=0.1, momentum=0.9))
    return Checkpointer(net, AdamW(net.parameters()) if kind == "optimizer" else None)


@pytest.mark.parametrize(
    ("kind", "fact"), [("classes", "7x4"), ("parameters", r"\[2\].*\[4\]"), ("optimizer", r"SOLVER\.OPTIMIZER")]
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, kind, fact) -> None:
    other = make_other(kind)
    other.save_dir = str(tmp_path)
    with torch.no_grad():
        other.model.body[0].weight.zero_()
    other.save("other")
    training = Training()
    training.run(range(2))
    before, step = weights_of(training.model), training.scheduler.last_epoch
    with pytest.raises(CheckpointError, match=fact):
        load(training.checkpointer(tmp_path))
    torch.testing.assert_close(weights_of(training.model), before, rtol=0, atol=0)
    assert training.scheduler.last_epoch == step


@pytest.mark.parametrize(
    ("name", "state"), [("optimizer", 3), ("optimizer", {"state": {}}), ("scheduler", [1]), ("scaler", "x")]
)
def test_a_state_of_something_else_is_refused(tmp_path, name, state) -> None:
    torch.save({"model": weights_of(Net()), name: state}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf'file\.pth.*"{name}"'):
        load(Training().checkpointer(tmp_path), tmp_path / "a.pth")


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
    first, second = (run(layout, state)[0] for layout in (torch.channels_last, torch.contiguous_format))
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def test_the_scale_of_gradients_is_kept(tmp_path) -> None:
    net, scaler = Net(), GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(()))  # the scale is made at its first use
    Checkpointer(net, save_dir=tmp_path, scaler=scaler).save("model_final")
    resumed = GradScaler("cpu")
    load(Checkpointer(net, save_dir=tmp_path, scaler=resumed))
    assert resumed.get_scale() == 8.0
    load(Checkpointer(net, save_dir=tmp_path, scaler=GradScaler("cpu", enabled=False)))


def test_only_the_newest_stay(tmp_path) -> None:
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
    # After going back to an earlier checkpoint, the one to continue from stays beside higher numbers.
    checkpointer.save("model_000010", iteration=10)
    assert load(checkpointer) == {"iteration": 10}


def full_disk(free: int, number: int = errno.ENOSPC) -> Mock:
    """Replace ``os.fsync``: after some calls the disk has no room."""
    return Mock(side_effect=chain([None] * free, repeat(OSError(number, os.strerror(number)))))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("free", [0, 1, 2])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, free, number) -> None:
    """Calls 0 and 1 flush the checkpoint and its folder, call 2 the tag; network disks have quotas."""
    checkpointer = Checkpointer(Net(), save_dir=tmp_path / "out")
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", full_disk(0))
    with pytest.raises(OutputError, match=r"model_000001\.pth: .*No space left"):
        checkpointer.save("model_000001", iteration=1)
    monkeypatch.setattr(os, "fsync", fsync)
    assert list((tmp_path / "out").iterdir()) == []
    checkpointer.save("model_000001", iteration=1)
    with pytest.raises(TypeError, match="'config'"):
        checkpointer.save("model_000002", config=tmp_path)
    monkeypatch.setattr(os, "fsync", full_disk(free, number))
    with pytest.raises(OutputError, match=rf"model_000002\.pth: .*{os.strerror(number)}.* \S*model_000001\.pth"):
        checkpointer.save("model_000002", iteration=2)
    assert load(checkpointer) == {"iteration": 1}
    assert not list((tmp_path / "out").glob(".*"))


def test_the_tag_comes_when_the_checkpoint_is_on_the_disk(tmp_path, monkeypatch) -> None:
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


def test_the_weights_that_detect_go_to_safetensors(tmp_path, monkeypatch) -> None:
    net, average = Net(), Net()
    checkpointer = Checkpointer(net, save_dir=tmp_path, average=average, safetensors=True)
    checkpointer.extra["class_names"] = ["__background__", "cell"]
    checkpointer.save("model_final", iteration=1)
    read = read_checkpoint(tmp_path / "model_final.safetensors")
    torch.testing.assert_close(read["model"], weights_of(average), rtol=0, atol=0)
    assert load(Checkpointer(net), tmp_path / "model_final.safetensors") == {"class_names": ["__background__", "cell"]}
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingPackageError, match=r"\[safetensors\]"):  # before anything is trained
        Checkpointer(net, save_dir=tmp_path, safetensors=True)


def write(path: Path, iteration: int) -> None:
    torch.save({"model": {"weight": torch.full((100,), float(iteration))}, "iteration": iteration}, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of the iterations 8, 9, 10 and 11, of which the tag names 10, and the best, of 9."""
    for iteration in (8, 9, 10, 11):
        write(tmp_path / f"model_{iteration:06d}.pth", iteration)
    write(tmp_path / "model_best.pth", 9)
    tag_checkpoint(tmp_path, str(tmp_path / "model_000010.pth"))
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit of the weights."""
    data = bytearray(path.read_bytes())
    data[data.index(torch.load(path)["model"]["weight"].numpy().tobytes()) + 200] ^= 16
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_the_last_one_is_read(folder, caplog) -> None:
    assert (found := read_last(folder)) is not None
    assert (found[0], found[1]["iteration"]) == (folder / "model_000010.pth", 10)
    assert not caplog.records
    shutil.copytree(folder, folder / "copy")  # reads its own
    assert last_checkpoint(folder / "copy") == folder / "copy" / "model_000010.pth"
    (folder / TAG_FILE).unlink()
    assert read_last(folder) is None
    assert not has_checkpoint("")


@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_damaged_one_gives_way_to_the_one_before(folder, caplog, damage) -> None:
    damage(folder / "model_000010.pth")
    with caplog.at_level(logging.WARNING):
        assert (found := read_last(folder)) is not None
    assert found[0] == folder / "model_000009.pth"
    first, second = (record.getMessage() for record in caplog.records)
    assert str(folder / "model_000010.pth") in first
    assert str(folder / "model_000009.pth") in second
    assert (folder / TAG_FILE).read_text() == str(folder / "model_000010.pth")


def test_which_one_replaces_the_last(folder) -> None:
    for iteration in (10, 9, 8):
        truncate(folder / f"model_{iteration:06d}.pth")
    assert (found := read_last(folder)) is not None
    assert found[0].name == "model_best.pth"
    truncate(folder / "model_best.pth")
    with pytest.raises(CheckpointError, match=r"10\.pth .*model_000009\.pth, model_000008"):
        read_last(folder)
    (folder / "model_final.pth").touch()  # before a final one comes the highest number
    tag_checkpoint(folder, "model_final.pth")
    write(folder / "model_2000000.pth", 2000000)
    assert (found := read_last(folder)) is not None
    assert found[1]["iteration"] == 2000000


@pytest.mark.parametrize("written", [b"gone/model_000012.pth", b"", b"\xff\x00\xfe"])
def test_a_tag_that_names_nothing(folder, written) -> None:
    (folder / TAG_FILE).write_bytes(written)
    with pytest.raises(CheckpointError, match=r"last_checkpoint\.txt .*model_0000"):
        read_last(folder)
