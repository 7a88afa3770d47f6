"""YAML as a configuration may hold it: plain data, every key once, and no larger than its text shows."""

from typing import Any, ClassVar

import yaml

from ssd.utils.errors import ConfigError

MAX_INT = 2**63  # whole numbers stay below: int64 holds no larger ones, and from 4300 digits on Python prints none
_TAG = "tag:yaml.org,2002:"
_MAX_NODES = 100_000  # of a document with its aliases written out
# What yaml's constructors raise for texts that do not fit an explicit tag, such as !!int "_" or !!bool maybe.
_CONSTRUCTOR_ERRORS = (ValueError, LookupError, AttributeError, TypeError)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the content of a YAML file: dictionaries, lists, strings, numbers, truth values and None.

    Args:
        text: the content.
        source: where it comes from, for messages.

    Raises:
        ConfigError: it is no YAML, no mapping, or has something else in it: a tag of Python's, a repeated key, an
            alias inside of what it repeats, aliases that grow beyond measure.
    """
    try:
        tree = yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: not valid YAML: nested too deeply") from error
    except _CONSTRUCTOR_ERRORS as error:
        raise ConfigError(f"{source}: not valid YAML: a value does not fit its tag: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: a config is a mapping of keys to values, got {type(tree).__name__}")
    return tree


class _PlainLoader(yaml.SafeLoader):
    """Plain data alone, within limits; a key that stands twice in a group is an error, which YAML does not make it."""

    def construct_document(self, node: yaml.Node) -> Any:
        if _num_nodes(node, {}) > _MAX_NODES:
            raise _error("its aliases stand for too much; write out what is meant", node)
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == f"{_TAG}merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _error(f"key {key!r} is no string; put it in quotes", key_node)
            if key in seen:
                raise _error(f"key {key!r} stands there twice", node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if abs(value) >= MAX_INT:
            raise _error("a number of more than 63 bits", node)
        return value

    yaml_constructors: ClassVar = {
        **yaml.SafeLoader.yaml_constructors,
        f"{_TAG}int": construct_yaml_int,
        f"{_TAG}timestamp": yaml.SafeLoader.construct_yaml_str,  # a folder called 2020-01-01
        **{f"{_TAG}{name}": yaml.SafeLoader.construct_undefined for name in ("binary", "omap", "pairs", "set")},
    }


def _error(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _num_nodes(node: yaml.Node, counts: dict[int, int | None]) -> int:
    """Nodes below and with ``node``, each alias as what it stands for; ``counts`` has those that are known."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = None  # as long as it is being counted
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(child,) for child in node.value]
        counts[id(node)] = 1 + sum(_num_nodes(child, counts) for pair in pairs for child in pair)
    count = counts[id(node)]
    if count is None:
        raise _error("an alias stands inside of what it repeats", node)
    return count
