"""Keys of version 1.0.0, accepted for one version: this file goes with them."""

from typing import Any

from ssd.utils.errors import ConfigError

# Old key -> new key in the same group ("" = it has no effect any more), and the new names of values.
OLD_KEYS: dict[str, tuple[str, dict[str, str]]] = {
    "MODEL.WEIGHTS_EXCEPT": ("MODEL.WEIGHTS_EXCLUDE", {}),
    "DATA_LOADER.CACHE": ("", {}),
    "DATA_LOADER.CACHE_GB": ("", {}),
    "DATA_LOADER.CACHE_DIR": ("", {}),
    "SOLVER.ACCUMULATE": ("SOLVER.MICRO_BATCHES", {}),
    "SOLVER.BATCH_SIZE_OF": ("SOLVER.BATCH_SIZE_SCOPE", {"all": "global"}),
    "TEST.LOSS": ("TEST.VALIDATION_LOSS", {}),
}


def with_current_keys(tree: dict[str, Any], source: str = "") -> tuple[dict[str, Any], list[str]]:
    """Replace the old keys of a plain dictionary, which is not changed; return the result and a note on each."""
    tree, notes = dict(tree), []
    for old_key, (new_key, values) in OLD_KEYS.items():
        group_name, old_name = old_key.split(".")
        group = tree.get(group_name)
        if not isinstance(group, dict) or old_name not in group:
            continue
        new_name = new_key.rpartition(".")[2]
        if new_name in group:
            raise ConfigError(f"{source}{old_key} is the old name of {new_key}, and both are set; remove {old_key}")
        value = group[old_name]
        tree[group_name] = {name: item for name, item in group.items() if name != old_name}
        if new_key:
            tree[group_name][new_name] = values.get(value, value) if isinstance(value, str) else value
        notes.append(f"{old_key} is now called {new_key}" if new_key else f"{old_key} has no effect any more")
    return tree, notes
