"""Keys of version 1.0.0."""

import logging
from pathlib import Path

import pytest

from ssd.config import Config, load_config, parse_config
from ssd.config.files import OLD_KEYS
from ssd.utils.errors import ConfigError

OLD = """
MODEL: {WEIGHTS_EXCEPT: [box_head]}
SOLVER: {ACCUMULATE: 4, BATCH_SIZE_OF: all}
TEST: {LOSS: false}
DATA_LOADER: {CACHE: memory, CACHE_GB: 2.0, CACHE_DIR: ''}
"""


def values(config: Config) -> tuple:
    solver, test = config.SOLVER, config.TEST
    return config.MODEL.WEIGHTS_EXCLUDE, solver.MICRO_BATCHES, solver.BATCH_SIZE_SCOPE, test.VALIDATION_LOSS


EXPECTED = (("box_head",), 4, "global", False)


def test_in_a_file_and_in_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert values(parse_config(OLD, "model.pth")) == EXPECTED
    assert not caplog.records  # its user cannot change it
    (tmp_path / "a.yaml").write_text(OLD)
    assert values(load_config(tmp_path / "a.yaml")) == EXPECTED
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for key, (new_key, _) in OLD_KEYS.items():
        assert key in record.getMessage()
        assert new_key in record.getMessage()
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nSOLVER: {MICRO_BATCHES: 2}")
    assert load_config(tmp_path / "b.yaml").SOLVER.MICRO_BATCHES == 2


def test_on_the_command_line(caplog: pytest.LogCaptureFixture) -> None:
    options = ["MODEL.WEIGHTS_EXCEPT", "['box_head']", "SOLVER.ACCUMULATE", "4", "SOLVER.BATCH_SIZE_OF", "all"]
    assert values(load_config(None, [*options, "TEST.LOSS", "False"])) == EXPECTED
    assert len(caplog.records) == 4
    with pytest.raises(ConfigError, match=r"SOLVER\.MICRO_BATCHES .* 0"):
        load_config(None, ["SOLVER.ACCUMULATE", 0])


def test_both_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.pth.*SOLVER\.ACCUMULATE.*SOLVER\.MICRO_BATCHES"):
        parse_config("SOLVER: {ACCUMULATE: 4, MICRO_BATCHES: 2}", "a.pth")
