"""What differs between a training that a manifest tells of and now, or another one."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ssd.config import Config
from ssd.data import build_datasets
from ssd.engine.manifest import describe_now
from ssd.utils.device import select_device
from ssd.utils.errors import shorten

# Of a machine, what no result depends on; the number of threads is set as it was.
_WITHOUT_EFFECT = ("system", "cores", "threads")


def last_training(starts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last start at iteration 0 and those that continued it; all, if the manifest has none at 0."""
    first = max((i for i, start in enumerate(starts) if start["start_iteration"] == 0), default=0)
    return list(starts[first:])


def changes_on_the_way(starts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """List what was changed in the course of a training; done again it goes through in one piece.

    Args:
        starts: see ``last_training``.
    """
    if starts[0]["start_iteration"]:
        yield f"the manifest does not tell of the first {starts[0]['start_iteration']} iterations"
    for before, start in itertools.pairwise(starts):
        for line in _start_differences(before, start):
            yield f"from iteration {start['start_iteration']} on, {line}"


def changes_since(start: Mapping[str, Any], cfg: Config) -> Iterator[str]:
    """List what is other now than at a start: versions, code, machine, datasets.

    Args:
        start: of the training.
        cfg: its config.

    Raises:
        DatasetError: a dataset is missing or malformed.
        DeviceError: the device of the config does not exist.
    """
    train_sets = build_datasets(cfg, is_train=True)
    test_sets = build_datasets(cfg, False, train_sets[0].class_names) if start["datasets"].get("test") else []
    now = describe_now(cfg, train_sets, test_sets, select_device(cfg.MODEL.DEVICE))
    for name in _WITHOUT_EFFECT:
        now["machine"][name] = start["machine"].get(name)
    for group in now:
        yield from _group_differences(start, now, group)


def result_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the metrics of two results that differ; empty if they are equal."""
    return list(_differences(before.get("metrics", {}), now.get("metrics", {}), ""))


def _start_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    moved = {**before["config"], "OUTPUT_DIR": now["config"].get("OUTPUT_DIR")}
    yield from _differences(moved, now["config"], "")
    yield from _differences(before["processes"], now["processes"], "processes")
    for group in ("versions", "code"):
        yield from _group_differences(before, now, group)
    yield from _differences(before["datasets"].get("train"), now["datasets"].get("train"), "datasets.train")


def _group_differences(before: Mapping[str, Any], now: Mapping[str, Any], group: str) -> Iterator[str]:
    if group == "code" and before["code"].get("digest") == now["code"].get("digest"):
        return  # another commit, which changed other files
    yield from _differences(before[group], now[group], group)


def _differences(then: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*then, *now]):
            yield from _differences(then.get(name), now.get(name), f"{path}.{name}".lstrip("."))
    elif then != now:
        yield f"{path}: {shorten(then)} -> {shorten(now)}"
