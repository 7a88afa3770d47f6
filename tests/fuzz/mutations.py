"""Damage to annotation files and configs: of their bytes, their words, and their structure."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import yaml
from hypothesis import strategies as st

# Wrong where a number, a name or a box is expected.
HOSTILE_WORDS = [
    *("NaN", "-Infinity", "1e999", "1e308", "-1e308", "-1", "0", "1e-320", "9" * 19, "1" * 5000, "-" * 3000 + "1"),
    *("null", "true", "~", "''", '""', "[]", "{}", "[[[]]]", "__background__", ".inf", ".nan", "2020-13-45", "1:2:3"),
    *("../../etc/passwd", "/etc/passwd", "a\\u0000b", "\\ud800", "\x00", "\ufeff", "\u202e", "x" * 5000, "~root/x"),
    *("<!DOCTYPE a [<!ENTITY e 'x'>]>", "&e;", "&#0;", "<![CDATA[", "<!--", "<a/>", "<?xml version='1.0'?>"),
    *("!!python/object/apply:os.system [id]", "!!python/name:os.system", "!!set", "!!binary", "!!int", "!!bool"),
    *("&a [*a]", "*a", "<<: *a", "? [1]", "%YAML 9.9", "---", "...", "[" * 3000, "{" * 3000, "<a>" * 3000, "- " * 500),
    *("{[]: 1}", "(" * 300, "b'x'", "1j", "{1, 2}", "lambda: 0", "__import__('os')"),
]
HOSTILE_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e-320, 1e308),
    *(float("nan"), float("inf")),
    *("", " ", "1", "nan", "cat", "../a.png", "/etc/passwd", "a\0b", "\ud800", "\udc80", "x" * 5000, "__background__"),
    *([], {}, [[]], [None], [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, float("nan")], [[1], [2], [3], [4]], {"a": {"b": []}}),
]
_TOKEN = re.compile(r"\w+|[^\w\s]|\s+")


def mutate(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Return ``data``, a file of ``kind`` "xml", "json" or "yaml", with one to four mistakes."""
    weights = [2, 1, 1, 1, 2, 3, 2, 1, 8]
    plain = [*BINARY, replace_token, swap_tokens, swap_lines]
    for mutation in rng.choices([*plain, STRUCTURAL[kind]], weights, k=rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = mutation(data, rng)
    return data


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A binary file with one to three mistakes."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    for mutation in draw(st.lists(st.sampled_from(BINARY), min_size=1, max_size=3)):
        data = mutation(data, rng)
    return data


def flip_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6) if data else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(data))
    return data[:start] + data[start + rng.randint(1, 60) :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start, place = rng.randint(0, len(data)), rng.randint(0, len(data))
    return data[:place] + data[start : start + rng.randint(1, 200)] * rng.randint(1, 3) + data[place:]


def insert_word(data: bytes, rng: random.Random) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + _encode(rng.choice(HOSTILE_WORDS)) + data[place:]


def replace_token(data: bytes, rng: random.Random) -> bytes:
    tokens = _tokens(data)
    words = [i for i, token in enumerate(tokens) if token.strip()]
    if words:
        tokens[rng.choice(words)] = rng.choice(HOSTILE_WORDS)
    return _encode("".join(tokens))


def swap_tokens(data: bytes, rng: random.Random) -> bytes:
    tokens = _tokens(data)
    if tokens:
        i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        tokens[i], tokens[j] = tokens[j], tokens[i]
    return _encode("".join(tokens))


def swap_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def restructure_xml(data: bytes, rng: random.Random) -> bytes:
    """Remove, repeat, move, rename or rewrite an element."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return data
    nodes = list(root.iter())
    node, parent = rng.choice(nodes), rng.choice(nodes)
    action = rng.randrange(5)
    if action == 0 and len(node):
        node.remove(rng.choice(list(node)))
    elif action == 1:
        parent.append(copy.deepcopy(node))
    elif action == 2:
        node.tag = rng.choice([other.tag for other in nodes])
    elif action == 3:
        node.text = rng.choice([other.text for other in nodes])
    else:
        node.text = "".join(character for character in rng.choice(HOSTILE_WORDS) if character.isprintable())
    return ElementTree.tostring(root)


def _restructured(data: bytes, rng: random.Random, load: Callable[[bytes], Any], dump: Callable[[Any], str]) -> bytes:
    """Replace, remove, rename, repeat or exchange parts of a tree of dictionaries and lists."""
    try:
        tree = load(data)
        places = list(_places(tree))  # without end if an alias is inside of what it repeats
    except (ValueError, RecursionError, yaml.YAMLError, LookupError, AttributeError, TypeError):
        return data
    if not places:
        return data
    node, key = rng.choice(places)
    action = rng.randrange(5)
    if action == 0:
        del node[key]
    elif action == 1:
        other, other_key = rng.choice(places)
        node[key], other[other_key] = copy.deepcopy(other[other_key]), copy.deepcopy(node[key])
    elif action == 2 and isinstance(node, dict):
        node[rng.choice([*("id", "bbox", "Id", "_BASE_", "", "x" * 300), str(key)])] = copy.deepcopy(node[key])
    elif action == 3 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        node[key] = copy.deepcopy(rng.choice(HOSTILE_VALUES))
    try:
        return _encode(dump(tree))
    except (ValueError, RecursionError, yaml.YAMLError):  # a value that the format cannot hold
        return data


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything below."""
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _tokens(data: bytes) -> list[str]:
    return _TOKEN.findall(data.decode("utf-8", errors="surrogateescape"))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


BINARY = [flip_bytes, cut, truncate, repeat, insert_word]
STRUCTURAL: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "xml": restructure_xml,
    "json": lambda data, rng: _restructured(data, rng, json.loads, json.dumps),
    "yaml": lambda data, rng: _restructured(data, rng, yaml.safe_load, yaml.safe_dump),
}
