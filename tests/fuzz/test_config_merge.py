"""Whatever is merged into a configuration, it takes it whole or refuses it and stays as it was."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ssd.config import cfg, parse_config
from ssd.config.node import dotted_keys
from ssd.utils.errors import ConfigError

KEYS = list(dotted_keys(cfg))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from([key.rsplit(".")[-1] for key in KEYS]) | st.text(max_size=5), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
KEY = st.sampled_from([*KEYS, "DATASETS.CUSTOM.x", "DATASETS.CUSTOM.x.ROOT"]) | st.text(max_size=15)


def has_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def check_merge(pairs: list[Any]) -> None:
    config = cfg.clone()
    before = config.clone()
    try:
        config.merge_from_list(pairs)
    except ConfigError:
        if len(pairs) == 2:
            assert config == before
        return
    if not has_nan(config):
        again = parse_config(config.dump(), "its dump")
        assert plain(again) == plain(config)


def plain(value: Any) -> Any:
    """YAML has no tuples, and new keys need not be groups of ours."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


TEXT = st.text(alphabet="()[]{}'\"0123456789abcxXej,.:+-_ \\\n\0\ud800", max_size=30)


@settings(max_examples=250, deadline=None)
@given(key=KEY, value=VALUES | TEXT)
def test_any_value_or_text_for_any_key(key: str, value: Any) -> None:
    check_merge([key, value])
