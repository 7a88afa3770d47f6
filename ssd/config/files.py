"""Config files: YAML that holds plain data only, ``_BASE_``, and the configs of the library, found by name."""

import difflib
import os
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ssd.structures.class_names import NamesLoader
from ssd.utils.errors import ConfigError, shorten

BASE_KEY = "_BASE_"

# Inside an installed package, or next to it in a checkout.
_PACKAGE = Path(__file__).parents[1]
FOLDERS = [_PACKAGE / "configs", _PACKAGE.parent / "configs"]
_PREFIX = "configs"  # a name may begin with it, as in a checkout
_SIMILAR = 0.7  # of names, by difflib
_TAG = "tag:yaml.org,2002:"
_MAX_NODES = 100_000  # of a document with its aliases written out
# Also those of yaml's constructors for texts that do not fit a tag, such as !!bool maybe, and for deep nesting.
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)


def read_chain(path: str | os.PathLike[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Read a config file and those that its ``_BASE_`` names; return paths and content in the order of merging."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    _read_with_bases(find_config(path), (), chain)
    return chain


def _read_with_bases(path: Path, below: tuple[Path, ...], chain: list[tuple[Path, dict[str, Any]]]) -> None:
    """Add to ``chain`` the bases of a file, then the file; ``below`` are the files that led here."""
    tree = _read_yaml(path)
    base = tree.pop(BASE_KEY, [])
    names = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{path}: {BASE_KEY} must be the path of one YAML file or a list of them, got {shorten(base)}"
        )
    below = (*below, path)
    for name in names:
        parent = find_config(name, path.parent)
        if not os.path.isfile(parent):
            raise ConfigError(f"{path}: {BASE_KEY} names {parent}, which does not exist{similar_configs(parent)}")
        if parent.resolve() in [file.resolve() for file in below]:
            raise ConfigError(f"{path}: {BASE_KEY} is circular: {' -> '.join(map(str, [*below, parent]))}")
        if parent.resolve() in [file.resolve() for file, _ in chain]:
            raise ConfigError(f"{path}: {BASE_KEY} leads to {parent} twice, which would undo what was set between them")
        _read_with_bases(parent, below, chain)
    chain.append((path, tree))


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the content of YAML text from ``source``; Python's tags, repeated keys and texts that grow are refused."""
    try:
        tree = yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except _YAML_ERRORS as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    if not isinstance(tree, (dict, type(None))):
        raise ConfigError(f"{source}: a config is a mapping of keys to values, got {type(tree).__name__}")
    return tree or {}


def shipped_config(name: str) -> Path:
    """Return the file of a config of the library, such as "interop/torchvision_ssd300_coco"."""
    path = _find_shipped(f"{name}.yaml")
    if path is None:
        folders = " nor ".join(map(str, FOLDERS))
        raise ConfigError(f"configs/{name}.yaml is missing: neither {folders} has it; install the library again")
    return path


def shipped_names() -> list[str]:
    """Return the paths of the library's configs in configs/, such as "modern/own_data.yaml", sorted."""
    return sorted({path.relative_to(folder).as_posix() for folder in FOLDERS for path in folder.rglob("*.yaml")})


def find_config(path: str | os.PathLike[str], folder: Path = Path()) -> Path:
    """Return the file ``path`` in ``folder``, else the library's config of this name (+ .yaml), else ``path``."""
    file = folder / os.path.expanduser(path)
    files = [name for name in (file, Path(f"{file}.yaml")) if os.path.isfile(name)]
    return next(iter(files), None) or _find_shipped(path) or _find_shipped(f"{os.fspath(path)}.yaml") or file


def is_config(name: str) -> bool:
    """Whether a word names a config: a YAML file, or one of the library's, with or without its suffix."""
    return name.endswith((".yaml", ".yml")) or (not os.path.exists(name) and os.path.isfile(find_config(name)))


def base_text(base: str | os.PathLike[str], target: Path) -> str:
    """Return the value of ``_BASE_`` in the config ``target`` for the config ``base``.

    It is the name of a config of the library, which holds on another machine too, else a path relative to the target.
    """
    found = find_config(base).resolve()
    for folder in FOLDERS:
        if found.is_relative_to(folder.resolve()):
            name = found.relative_to(folder.resolve()).as_posix()
            if find_config(name, target.parent).resolve() == found:  # the user has no other file of this name there
                return name
    return Path(os.path.relpath(found, target.resolve().parent)).as_posix()


def similar_configs(path: str | os.PathLike[str]) -> str:
    """Return "; did you mean A or B?" with files in the folder of ``path`` and configs of the library, or ""."""
    path = Path(path)
    beside = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    files = [path.parent / name for name in sorted(beside) if name.endswith((".yaml", ".yml"))]
    found = {os.path.realpath(file) for file in files}
    shipped = [name for name in shipped_names() if str(shipped_config(name[:-5]).resolve()) not in found]
    ratios = {
        name: difflib.SequenceMatcher(None, Path(name).stem, path.stem).ratio() for name in [*map(str, files), *shipped]
    }
    nearest = sorted((name for name in ratios if ratios[name] > _SIMILAR), key=lambda name: -ratios[name])[:3]
    return f"; did you mean {' or '.join(nearest)}?" if nearest else ""


def _find_shipped(path: str | os.PathLike[str]) -> Path | None:
    path = Path(path)
    name = path.relative_to(_PREFIX) if path.parts[:1] == (_PREFIX,) else path
    if path.is_absolute() or ".." in path.parts:
        return None
    return next((folder / name for folder in FOLDERS if os.path.isfile(folder / name)), None)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):
        raise ConfigError(f"config file {str(path)!r} does not exist{similar_configs(path)}")
    if path.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"{path}: a config is a .yaml file (Python files are not executed)")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: the config cannot be read: {error}") from error


class _PlainLoader(NamesLoader):
    """Plain data of limited size; a repeated key in a group is an error, which YAML does not make it."""

    def construct_document(self, node: yaml.Node) -> Any:
        if _num_nodes(node, {}) > _MAX_NODES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {_MAX_NODES} values", node.start_mark)
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != f"{_TAG}merge"]
        for number, key in enumerate(keys):
            if not isinstance(key, str) or key in keys[:number]:
                problem = f"key {key!r} is repeated" if isinstance(key, str) else f"key {key!r} needs quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)

    yaml_constructors: ClassVar = {
        **yaml.SafeLoader.yaml_constructors,
        f"{_TAG}timestamp": yaml.SafeLoader.construct_yaml_str,  # a folder called 2020-01-01
        **{f"{_TAG}{name}": yaml.SafeLoader.construct_undefined for name in ("binary", "omap", "pairs", "set")},
    }


def _num_nodes(node: yaml.Node, counts: dict[int, float]) -> float:
    """Count the nodes below and with ``node``, aliases written out: infinite for one inside what it repeats."""
    if id(node) not in counts:
        counts[id(node)] = float("inf")  # while it is being counted
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(child,) for child in node.value]
        is_scalar = isinstance(node, yaml.ScalarNode)
        counts[id(node)] = 1 if is_scalar else 1 + sum(_num_nodes(child, counts) for pair in pairs for child in pair)
    return counts[id(node)]


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
