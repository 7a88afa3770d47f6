"""How a schedule changes with the number of processes."""

import pytest

from ssd.config import Config, load_config
from ssd.engine.setup import check_same_processes, describe_scaling, scale_to_processes
from ssd.utils.errors import ConfigError


def config(*overrides: object) -> Config:
    """The defaults: LR 1e-3, MAX_ITER 120000, LR_STEPS 80000 and 100000, WARMUP_ITERS 500, batches of 32."""
    return load_config(None, overrides)


def changed_keys(before: Config, after: Config) -> set[str]:
    assert {key: before[key] for key in before if key != "SOLVER"} == {k: after[k] for k in after if k != "SOLVER"}
    return {key for key in before.SOLVER if before.SOLVER[key] != after.SOLVER[key]}


def test_batches_of_each_process_scale_the_schedule() -> None:
    cfg = config()
    scaled = scale_to_processes(cfg, 4)
    assert changed_keys(cfg, scaled) == {"LR", "MAX_ITER", "LR_STEPS", "WARMUP_ITERS"}
    solver = scaled.SOLVER
    assert (solver.LR, solver.MAX_ITER, solver.LR_STEPS) == (0.004, 30000, [20000, 25000])
    assert (solver.WARMUP_ITERS, solver.BATCH_SIZE, scaled.is_frozen()) == (125, 32, True)
    assert cfg.SOLVER.LR == 0.001
    told = describe_scaling(cfg, scaled, 4)
    assert "4 processes of 32 images: 128 per iteration" in told
    for change in ("LR 0.001 -> 0.004", "MAX_ITER 120000 -> 30000", "[80000, 100000] -> [20000, 25000]", "500 -> 125"):
        assert change in told
    solver = scale_to_processes(config("SOLVER.MAX_ITER", 100, "SOLVER.LR_STEPS", [70, 95]), 8).SOLVER
    assert (solver.MAX_ITER, solver.LR_STEPS, solver.WARMUP_ITERS) == (12, [8, 11], 62)  # rounded down


def test_a_batch_of_all_processes_is_divided() -> None:
    cfg = config("SOLVER.BATCH_SIZE_SCOPE", "global")
    scaled = scale_to_processes(cfg, 4)
    assert changed_keys(cfg, scaled) == {"BATCH_SIZE"}
    assert scaled.SOLVER.BATCH_SIZE == 8
    assert describe_scaling(cfg, scaled, 4).startswith("4 processes of 8 images: 32 per iteration")


@pytest.mark.parametrize("meaning", ["process", "global"])
def test_one_process_changes_nothing(meaning: str) -> None:
    cfg = config("SOLVER.BATCH_SIZE_SCOPE", meaning)
    assert scale_to_processes(cfg, 1) == cfg


@pytest.mark.parametrize(
    ("overrides", "world_size", "fact"),
    [
        (("SOLVER.BATCH_SIZE_SCOPE", "global"), 5, r"SOLVER\.BATCH_SIZE is 32 .*5 processes.* 30 or 35"),
        (("SOLVER.BATCH_SIZE_SCOPE", "global", "SOLVER.BATCH_SIZE", 2), 3, "3 processes.* 3$"),
        (("SOLVER.MAX_ITER", 3), 4, r"SOLVER\.MAX_ITER is 3.*4 processes.* 4 or more"),
        (("SOLVER.BATCH_SIZE_SCOPE", "each"), 1, r"SOLVER\.BATCH_SIZE_SCOPE .*'each'"),
    ],
)
def test_mistakes(overrides: tuple, world_size: int, fact: str) -> None:
    with pytest.raises(ConfigError, match=fact):
        scale_to_processes(config(*overrides), world_size)


def test_who_may_continue() -> None:
    check_same_processes(config(), {"world_size": 4}, 4)
    check_same_processes(config(), {}, 4)  # of lufficc/SSD
    check_same_processes(config("SOLVER.BATCH_SIZE_SCOPE", "global"), {"world_size": 1}, 4)
    with pytest.raises(ConfigError, match=r"trained by 2 process.* and 4 "):
        check_same_processes(config(), {"world_size": 2}, 4)
