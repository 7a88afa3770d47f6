"""Damaged checkpoints: they load as weights, or are refused with our error; nothing in them is executed."""

import io
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.errors import CheckpointError
from tests.fuzz.mutations import damaged

CHECKPOINT = {
    "model": {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3), "n": torch.tensor(3)},
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3, 4)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
    "iteration": 7,
    "class_names": ["__background__", "cat"],
    "config": "SOLVER: {LR: 0.1}\n",
}


def written(**options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(CHECKPOINT, buffer, **options)
    return buffer.getvalue()


FILES = [written(), written(_use_new_zipfile_serialization=False)]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:TypedStorage is deprecated")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.sampled_from(FILES).flatmap(damaged))
def test_a_damaged_checkpoint_loads_or_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError as error:
        assert "a.pth" in str(error)  # noqa: PT017  # some damage is beside what is read
    else:
        assert all(isinstance(value, torch.Tensor) for value in checkpoint["model"].values())
