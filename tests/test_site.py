"""The site: its menu has every page, the reference every key and command. `make docs` checks the links."""

import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssd import cli
from ssd.config import cfg

ROOT = Path(__file__).parents[1]
GENERATED = {"reference/config.md", "reference/commands.md", "changelog.md", "contributing.md"}


@pytest.fixture(scope="module")
def reference() -> dict[str, Callable[..., Any]]:
    """What docs/generate_reference.py defines."""
    return runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))


def pages_of(menu: Any) -> Iterator[str]:
    """The pages of a menu of mkdocs.yml, whatever its depth."""
    if isinstance(menu, str):
        yield menu
    else:
        for item in menu.values() if isinstance(menu, dict) else menu:
            yield from pages_of(item)


def test_menu_has_every_page_once() -> None:
    menu = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert sorted(menu) == sorted(pages | GENERATED)


def test_reference_has_every_key(reference) -> None:
    text = reference["config_page"]()
    assert "| `MODEL.THRESHOLD` | `0.5` | A prior whose IoU with an object reaches this is positive" in text
    assert "| `TEST.METRIC` | `auto` | " in text
    assert text.count("\n| `") == sum(1 for _ in reference["_leaves"](cfg))


def test_a_key_without_its_line_is_an_error(reference, monkeypatch) -> None:
    monkeypatch.setitem(cfg.TEST, "NEW", 1)
    with pytest.raises(ValueError, match=r"defaults\.py: no line `cfg\.KEY = default` for TEST\.NEW"):
        reference["config_page"]()


def test_reference_has_every_command(reference) -> None:
    text = reference["commands_page"]()
    sections = text.split("\n## ")[1:]
    titles = [section.partition("\n")[0] for section in sections]
    assert {f"ssd {name}" for name in cli.COMMANDS} < set(titles)
    for title, section in zip(titles, sections, strict=True):
        assert f"usage: {title} " in section, title


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the theme's search")
def test_search_finds_the_tutorial(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True)
    queries = ["train on my own images", "threshold", "learning rate", "resume", "negative images", "small objects"]
    search = ["node", str(ROOT / "tests" / "search_site.js"), str(tmp_path), *queries]
    output = subprocess.run(search, capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == ["tutorial/own-data.html"] * len(queries)
