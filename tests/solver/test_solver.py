"""The learning rate over a run, and the optimizer."""

import numpy as np
import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.solver import make_lr_scheduler, make_optimizer
from ssd.solver.lr_scheduler import cosine, multistep, warmup
from ssd.utils.errors import ConfigError


def test_first_steps_by_hand() -> None:
    assert [warmup(step, 0.5, 2) for step in range(4)] == [0.5, 0.75, 1, 1]
    assert [multistep(step, [4, 6], 0.1) for step in (3, 4, 5, 6)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert [cosine(step, 4) for step in range(6)] == pytest.approx([1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5, 0, 0])
    assert warmup(0, 0.1, 0) == 1
    curve = [cosine(step, 8, flat=0.5, end=0.2) for step in range(10)]
    assert curve == pytest.approx([1] * 5 + [0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2, 0.2])


SMALL = ["SOLVER.LR", 0.01, "SOLVER.LR_STEPS", [30, 45], "SOLVER.WARMUP_ITERS", 10, "SOLVER.WARMUP_FACTOR", 0.1]


@pytest.mark.parametrize(("prefix", "overrides"), [("default", []), ("small", SMALL)])
def test_golden_curves(goldens, prefix, overrides) -> None:
    golden = np.load(goldens / "lufficc" / "warmup_multistep_lr.npz")
    config = load_config(None, overrides)
    expected = golden[f"{prefix}_lr"]
    steps = golden["default_step"] if prefix == "default" else range(len(expected))
    scheduler = make_lr_scheduler(config, make_optimizer(config, nn.Linear(2, 2)))
    for step, lr in zip(steps, expected, strict=True):
        scheduler.load_state_dict({"last_epoch": int(step)})
        assert scheduler.get_last_lr()[0] == pytest.approx(float(lr), rel=1e-12)


def run(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    lrs = []
    for _ in range(steps):
        lrs.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return lrs


def test_stepping_follows_the_curve_and_resumes() -> None:
    config = load_config(None, ["SOLVER.WARMUP_ITERS", 4, "SOLVER.LR_STEPS", [6, 8]])
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(config, model)
    scheduler = make_lr_scheduler(config, optimizer)
    whole = run(scheduler, 10)
    assert whole[0] == pytest.approx(1e-3 / 3)
    assert whole[4:9] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])

    resumed = make_lr_scheduler(config, make_optimizer(config, model))
    resumed.load_state_dict({"last_epoch": 5, "milestones": [1], "base_lrs": [99.0]})  # as lufficc/SSD saves them
    assert run(resumed, 5) == whole[5:]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["SOLVER.LR_STEPS", [8, 6]], r"SOLVER\.LR_STEPS .*\[8, 6\]"),
        (["SOLVER.SCHEDULE", "linear"], r"SOLVER\.SCHEDULE .*'linear'"),
        (["SOLVER.OPTIMIZER", "adam"], r"SOLVER\.OPTIMIZER .*'adam'"),
    ],
)
def test_mistakes(overrides, message) -> None:
    config = load_config(None, overrides)
    with pytest.raises(ConfigError, match=message):
        make_lr_scheduler(config, make_optimizer(config, nn.Linear(2, 2)))


def test_cosine_and_adamw() -> None:
    overrides = ["SOLVER.SCHEDULE", "cosine", "SOLVER.MAX_ITER", 10, "SOLVER.WARMUP_ITERS", 2]
    config = load_config(None, [*overrides, "SOLVER.OPTIMIZER", "adamw", "SOLVER.WEIGHT_DECAY", 0.01])
    optimizer = make_optimizer(config, nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    lrs = run(make_lr_scheduler(config, optimizer), 10)
    assert lrs[0] == pytest.approx(1e-3 / 3)
    assert lrs[5] == pytest.approx(0.5e-3)
    assert lrs[9] == pytest.approx(1e-3 * cosine(9, 10))


def test_flat_cosine() -> None:
    overrides = ["SOLVER.SCHEDULE", "flat_cosine", "SOLVER.MAX_ITER", 10, "SOLVER.WARMUP_ITERS", 0]
    config = load_config(None, [*overrides, "SOLVER.FLAT", 0.4, "SOLVER.END_FACTOR", 0.1])
    lrs = run(make_lr_scheduler(config, make_optimizer(config, nn.Linear(2, 2))), 11)
    assert lrs[:5] == pytest.approx([1e-3] * 5)
    assert lrs[7] == pytest.approx(0.55e-3)
    assert lrs[10] == pytest.approx(1e-4)


def test_optimizer_takes_trainable_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = make_optimizer(load_config(), model)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model[1].parameters()]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-3, 0.9, 5e-4)


class Detector(nn.Module):
    """The names of a detector, with one layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
        self.backbone.extras = nn.Conv2d(1, 1, 1)
        self.box_head = nn.Conv2d(1, 1, 1)


def test_groups_have_their_learning_rate_and_decay() -> None:
    overrides = [
        *("SOLVER.LR", 0.5, "SOLVER.WEIGHT_DECAY", 0.25, "SOLVER.DECAY_NORMS_AND_BIASES", False),
        *("SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.BACKBONE_LR_FACTOR", 0.125, "SOLVER.WARMUP_ITERS", 0),
    ]
    config, model = load_config(None, overrides), Detector()
    optimizer = make_optimizer(config, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found == {
        "backbone.0.weight": (0.5 * 0.125, 0.25),
        "backbone.0.bias": (0.5 * 0.125 * 2, 0),
        "backbone.1.weight": (0.5 * 0.125, 0),
        "backbone.1.bias": (0.5 * 0.125 * 2, 0),
        "backbone.extras.weight": (0.5, 0.25),
        "backbone.extras.bias": (1, 0),
        "box_head.weight": (0.5, 0.25),
        "box_head.bias": (1, 0),
    }
    # The schedule scales them all; the log shows the first, which no factor applies to.
    scheduler = make_lr_scheduler(load_config(None, [*overrides, "SOLVER.LR_STEPS", [1]]), optimizer)
    before = scheduler.get_last_lr()
    assert before[0] == 0.5
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([lr / 10 for lr in before])


@pytest.mark.parametrize(
    ("overrides", "new"),
    [
        ([], {"backbone.extras.weight", "backbone.extras.bias", "box_head.weight", "box_head.bias"}),
        (["MODEL.WEIGHTS", "a.pth"], set()),
        (["MODEL.WEIGHTS", "a.pth", "MODEL.WEIGHTS_EXCLUDE", ["box_"]], {"box_head.weight", "box_head.bias"}),
    ],
)
def test_new_layers_have_their_learning_rate(overrides, new) -> None:
    model = Detector()
    optimizer = make_optimizer(load_config(None, [*overrides, "SOLVER.NEW_LAYERS_LR_FACTOR", 4.0]), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {group["lr"]: {names[id(p)] for p in group["params"]} for group in optimizer.param_groups}
    assert groups == {lr: found for lr, found in ((1e-3, set(names.values()) - new), (4e-3, new)) if found}


def test_one_group_unless_asked_for() -> None:
    (group,) = make_optimizer(load_config(), Detector()).param_groups
    assert len(group["params"]) == 8


def test_a_skipped_first_step_leaves_no_momentum() -> None:
    """The scaler of float16 gradients skips it so; the fused kernel would leave unwritten memory."""
    model = nn.Linear(50, 50)
    optimizer = make_optimizer(load_config(), model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()
    del optimizer.found_inf  # type: ignore[attr-defined]
    assert all(not optimizer.state[parameter]["momentum_buffer"].any() for parameter in model.parameters())


def test_momentum_of_zero_is_a_first_step() -> None:
    """Bit by bit as with an optimizer that begins without."""
    models = [nn.Linear(5, 5) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    cfg = load_config(None, ["SOLVER.WEIGHT_DECAY", 0.1])
    plain = torch.optim.SGD(models[1].parameters(), cfg.SOLVER.LR, cfg.SOLVER.MOMENTUM, weight_decay=0.1, fused=True)
    for optimizer, model in zip((make_optimizer(cfg, models[0]), plain), models, strict=True):
        for step in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.linspace(-1, step, parameter.numel()).view_as(parameter)
            optimizer.step()
    torch.testing.assert_close(dict(models[0].state_dict()), dict(models[1].state_dict()), rtol=0, atol=0)
