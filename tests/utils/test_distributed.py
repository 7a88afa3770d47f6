"""A single process is rank 0 of 1, and nothing is sent; several: tests/engine/distributed_checks.py."""

import logging

import pytest
import torch
from torch import nn

from ssd.utils.distributed import (
    Agreement,
    broadcast_state,
    broadcast_text,
    gather_tensors,
    get_rank,
    get_world_size,
    in_turns,
    is_distributed,
    is_lost_connection,
    is_main,
    join_processes,
    leave_processes,
    mean_over_processes,
    parallelise,
    said_once,
    wait_for_all,
)


def test_alone(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    join_processes(torch.device("cpu"))
    assert (is_distributed(), get_rank(), get_world_size(), is_main()) == (False, 0, 1, True)
    values, module = torch.ones(3), nn.Linear(1, 1)
    assert mean_over_processes(values) is values
    assert parallelise(module) is module
    assert gather_tensors({"values": values}) == [{"values": values}]
    assert broadcast_text("a path") == "a path"
    broadcast_state(module)
    wait_for_all("nothing")
    agree = Agreement()
    assert [agree(number) for number in (0, 15, 0)] == [0, 15, 0]  # at once
    logging.getLogger("ssd").propagate = True
    with in_turns(), said_once():
        logging.getLogger("ssd.data").warning("a strange box")
    assert "a strange box" in caplog.text
    leave_processes()


def test_only_errors_of_the_connection_are_taken_for_one() -> None:
    lost = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:5"
    assert is_lost_connection(RuntimeError(lost))
    assert is_lost_connection(torch.distributed.DistNetworkError("the store is gone"))
    assert not is_lost_connection(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
