"""Keys of version 1.0.0."""

import logging
from pathlib import Path

import pytest

from ssd.config import load_config, parse_config
from ssd.config.old_keys import OLD_KEYS
from ssd.utils.errors import ConfigError

OLD = """
MODEL: {WEIGHTS_EXCEPT: [box_head]}
SOLVER: {ACCUMULATE: 4, BATCH_SIZE_OF: all}
TEST: {LOSS: false}
DATA_LOADER: {CACHE: memory, CACHE_GB: 2.0, CACHE_DIR: ''}
"""


def values(config: object) -> tuple:
    return (
        *(config.MODEL.WEIGHTS_EXCLUDE, config.SOLVER.MICRO_BATCHES),  # type: ignore[attr-defined]
        *(config.SOLVER.BATCH_SIZE_SCOPE, config.TEST.VALIDATION_LOSS),  # type: ignore[attr-defined]
    )


EXPECTED = (("box_head",), 4, "global", False)


def test_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.yaml").write_text(OLD)
    assert values(load_config(tmp_path / "a.yaml")) == EXPECTED
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for key, (new_key, _) in OLD_KEYS.items():
        assert key in record.getMessage()
        assert new_key in record.getMessage()


def test_on_the_command_line(caplog: pytest.LogCaptureFixture) -> None:
    options = ["MODEL.WEIGHTS_EXCEPT", "['box_head']", "SOLVER.ACCUMULATE", "4", "SOLVER.BATCH_SIZE_OF", "all"]
    assert values(load_config(None, [*options, "TEST.LOSS", "False"])) == EXPECTED
    assert len(caplog.records) == 4
    load_config(None, ["DATA_LOADER.CACHE", "disk"])
    assert "DATA_LOADER.CACHE " in caplog.records[-1].getMessage()


def test_in_a_checkpoint_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Its user cannot change it."""
    assert values(parse_config(OLD, "model.pth")) == EXPECTED
    assert not caplog.records


def test_values_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"SOLVER\.MICRO_BATCHES .* 0"):
        load_config(None, ["SOLVER.ACCUMULATE", 0])


def test_both_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("SOLVER: {ACCUMULATE: 4, MICRO_BATCHES: 2}")
    with pytest.raises(ConfigError, match=r"a\.yaml.*SOLVER\.ACCUMULATE.*SOLVER\.MICRO_BATCHES"):
        load_config(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"TEST\.LOSS.*TEST\.VALIDATION_LOSS"):
        load_config(None, ["TEST.VALIDATION_LOSS", True, "TEST.LOSS", False])


def test_a_new_key_overrides_the_old_one_of_a_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(OLD)
    (tmp_path / "a.yaml").write_text("_BASE_: base.yaml\nSOLVER: {MICRO_BATCHES: 2}")
    assert load_config(tmp_path / "a.yaml").SOLVER.MICRO_BATCHES == 2
