import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from ssd.utils.checkpoint import TAG_FILE, Checkpointer, load_model_weights, load_optimizer_state
from ssd.utils.errors import CheckpointError


class Net(nn.Module):
    """A body and one classification header, with names like those of the detector."""

    def __init__(self, num_classes: int = 3, num_body: int = 1):
        super().__init__()
        self.body = nn.Sequential(*[nn.Linear(4, 4) for _ in range(num_body)])
        self.predictor = nn.Module()
        self.predictor.cls_headers = nn.ModuleList([nn.Linear(4, num_classes)])

    def forward(self, x: Tensor) -> Tensor:
        return self.predictor.cls_headers[0](self.body(x))


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


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


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


def test_tag_that_names_nothing(tmp_path: Path) -> None:
    (tmp_path / TAG_FILE).write_text("gone/model_000002.pth")
    Checkpointer(Net(), save_dir=tmp_path).save("model_000001", tag_last=False)
    with pytest.raises(CheckpointError, match=r"model_000002\.pth', which does not exist; .*model_000001\.pth"):
        Checkpointer(Net(), save_dir=tmp_path).load()


def test_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Checkpointer(Net(), save_dir=tmp_path).load()


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


def test_mismatch_lists_missing_unexpected_and_shapes() -> None:
    model = Net(num_body=12)
    weights = weights_of(Net(num_body=1))
    weights["body.0.bias"] = torch.zeros(5)
    weights["stray"] = torch.zeros(())
    with pytest.raises(CheckpointError) as caught:
        load_model_weights(model, weights, "file.pth")
    message = str(caught.value)
    assert message.startswith("file.pth does not fit the model:")
    assert "in the model but not in the checkpoint (22): body.1.weight; body.1.bias; " in message
    assert message.count("body.") == 11  # ten missing names and one of another shape
    assert "and 12 more" in message
    assert "in the checkpoint but not in the model (1): stray" in message
    assert "of another shape (1): body.0.bias 5, the model has 4" in message
    assert "class count" not in message


def test_other_class_count_is_recognised() -> None:
    with pytest.raises(CheckpointError, match="class count") as caught:
        load_model_weights(Net(num_classes=3), weights_of(Net(num_classes=7)), "file.pth")
    assert "predictor.cls_headers.0.weight 7x4, the model has 3x4" in str(caught.value)


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
    with pytest.raises(CheckpointError, match=r"groups of \[2\] tensors, this one of \[4\]"):
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
