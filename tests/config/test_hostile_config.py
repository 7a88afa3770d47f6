"""Configs that mean harm: nothing in them is executed or grows, and the error names the file."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssd.config import load_config
from ssd.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 15  # a second where this was written


def load(folder: Path, text: str, name: str = "a.yaml") -> object:
    (folder / name).write_text(text)
    return load_config(folder / name)


@pytest.mark.parametrize(
    "tag",
    [
        "python/object/apply:os.mkdir [trap]",
        "python/object/new:os.mkdir [trap]",
        "python/name:os.mkdir",
        "python/tuple [1]",
    ],
)
def test_python_tags_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"a\.yaml: not valid YAML: could not determine a constructor for the tag"):
        load(tmp_path, f"OUTPUT_DIR: !!{tag}\n")
    assert not (tmp_path / "trap").exists()


def test_python_files_are_no_base_either(tmp_path: Path) -> None:
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    with pytest.raises(ConfigError, match=r"a config is a \.yaml file"):
        load(tmp_path, "_BASE_: trap.py\n")
    assert not (tmp_path / "executed").exists()


def laughs(levels: int = 9) -> str:
    """Ten to the ``levels`` words, were the aliases written out."""
    lines = ["a0: &a0 [ha]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels + 1)]
    return "\n".join(lines)


def merged_laughs(levels: int = 9) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(), "its aliases stand for too much"),
        (merged_laughs(), "its aliases stand for too much"),
        ("DATASETS: &d {CUSTOM: *d}", "an alias stands inside of what it repeats"),
        ("[" * 5000, "nested too deeply"),
        ("SOLVER: {MAX_ITER: 0x" + "f" * 5000 + "}", "a number of more than 63 bits"),
        ("SOLVER: {MAX_ITER: " + "9" * 5000 + "}", "does not fit its tag|more than 63 bits"),
        ("SOLVER: {MAX_ITER: !!int _}", "a value does not fit its tag"),
        ("SOLVER: {MAX_ITER: !!bool maybe}", "a value does not fit its tag"),
        ("SOLVER: {LR: !!timestamp x}", r"SOLVER\.LR must be float"),
        ("SOLVER: {LR: !!binary aGk=}", "could not determine a constructor"),
        ("DATASETS: {CUSTOM: {1: {FORMAT: voc}}}", "key 1 is no string; put it in quotes"),
        ("DATASETS: {CUSTOM: {? [a] : 1}}", r"key \['a'\] is no string"),
        ("OUTPUT_DIR: a\0b", "not valid YAML"),
        ("SOLVER: {LR: .nan}", r"SOLVER\.LR must be positive"),
        ("SOLVER: {LR: .inf}", r"SOLVER\.LR must be positive"),
        ("SOLVER: {WEIGHT_DECAY: .inf}", r"SOLVER\.WEIGHT_DECAY must be 0 or more"),
        ("MODEL: {WEIGHTS_EXCLUDE: ['a{99999999999999}']}", "must be a list of regular expressions"),
        ("_BASE_: " + "x" * 5000 + ".yaml", "does not exist"),
        ('_BASE_: "a\\0b.yaml"', "does not exist"),
        ("_BASE_: ~nobody_of_this_name/a.yaml", "does not exist"),
    ],
)
def test_hostile_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert "a.yaml" in str(caught.value)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(ConfigError, match=r"loop\.yaml' does not exist"):
        load_config(tmp_path / "loop.yaml")
    with pytest.raises(ConfigError, match=r"_BASE_ names .*loop\.yaml, which does not exist"):
        load(tmp_path, "_BASE_: loop.yaml")


def test_what_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is made here."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_text", refuse)
    (tmp_path / "a.yaml").touch()
    with pytest.raises(ConfigError, match=r"a\.yaml: the config cannot be read: Permission denied"):
        load_config(tmp_path / "a.yaml")


def test_values_of_new_keys_that_no_file_could_hold() -> None:
    entry = {"FORMAT": "voc", "ROOT": Path("datasets")}
    with pytest.raises(ConfigError, match=r"DATASETS\.CUSTOM\.mine must be text, a number, a list or a group, got \{"):
        load_config(None, ["DATASETS.CUSTOM.mine", entry])
    assert load_config(None, ["DATASETS.CUSTOM.mine", {**entry, "ROOT": "a"}]).DATASETS.CUSTOM.mine.ROOT == "a"


def test_what_is_no_unicode(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"OUTPUT_DIR: \xff\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: not valid YAML"):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["{[]: 1}", "{{}}", "b'x'", "1j", "{1, 2}", "..."])
def test_literals_that_no_config_holds_stay_text(text: str) -> None:
    assert load_config(None, ["DATASETS.CUSTOM.x", text]).DATASETS.CUSTOM.x == text


@pytest.mark.parametrize("text", ["(" * 500, "-" * 50_000 + "1", "[" * 5000, "1" * 5000])
def test_literals_beyond_measure_are_text(text: str) -> None:
    with pytest.raises(ConfigError, match=r"SOLVER\.LR must be float"):
        load_config(None, ["SOLVER.LR", text])


def test_dates_and_merged_groups_are_plain_data(tmp_path: Path) -> None:
    text = """
DATASETS:
  CUSTOM:
    one: &one {FORMAT: voc, ROOT: 2020-01-31, SPLIT: train}
    two: {<<: *one, SPLIT: test}
"""
    custom = load(tmp_path, text).DATASETS.CUSTOM  # type: ignore[attr-defined]
    assert custom.one.ROOT == "2020-01-31"
    assert dict(custom.two) == {"FORMAT": "voc", "ROOT": "2020-01-31", "SPLIT": "test"}


def test_a_literal_group_on_the_command_line_is_a_group() -> None:
    config = load_config(None, ["DATASETS.CUSTOM.x", "{'FORMAT': 'voc', 'ROOT': 'r'}"])
    assert config.DATASETS.CUSTOM.x.ROOT == "r"
