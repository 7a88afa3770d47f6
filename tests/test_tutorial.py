"""The tutorial: its commands and blocks run, page after page in one folder; the notebook is made of the same."""

import json
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ssd import cli
from tests.test_docs import file_name, read_blocks

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorial"
PAGES = ("quickstart", "own-data", "fine-tune", "export")
NOTEBOOK = FOLDER / "quickstart.ipynb"

# Behind the words of a command, what makes it small.
TRAINING = ["SOLVER.MAX_ITER", "4", "SOLVER.BATCH_SIZE", "4", "DATA_LOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"]
SMALLER = {
    "fit": TRAINING,
    "train": TRAINING,
    "test": ["DATA_LOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"],
    "predict": ["MODEL.DEVICE", "cpu"],
    "export": ["--skip_latency", "--num_images", "2"],
    "scenes": ["--train", "12", "--test", "6", "--size", "128x96"],
}


def run_command(line: str) -> None:
    """Run a line of a bash block in this process, and see that it succeeds."""
    words = shlex.split(line, comments=True)
    assert words[0] == "ssd", line
    name = "scenes" if words[1:3] == ["data", "scenes"] and "--output" in words else words[1]
    assert cli.main([*words[1:], *SMALLER.get(name, [])]) == 0, line


def run_page(blocks: list[tuple[str, str]], folder: Path) -> None:
    """Do what a page says: run its commands and its Python, write its files."""
    names: dict[str, Any] = {}
    for language, block in blocks:
        if language == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                run_command(line)
        elif language == "python":
            exec(compile(block, "tutorial", "exec"), names)
        else:
            assert language == "yaml"
            (folder / file_name(block)).write_text(block)


def blocks_of_notebook() -> Iterator[tuple[str, str]]:
    """The code cells of the notebook, but the one that installs the library."""
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "%pip" not in source:
            yield ("bash", source.replace("!", "")) if source.startswith("!") else ("python", source)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_pages_run_one_after_the_other(folder: Path) -> None:
    for page in PAGES:
        run_page(read_blocks((FOLDER / f"{page}.md").read_text()), folder)
    made_by_pages = ("runs/photos/drawn", "drawn", "drawn_mine", "drawn_tuned", "sheets", "fitted.yaml", "model.json")
    for made in (*made_by_pages, "outputs/tuned/model_final.pth"):
        assert (folder / made).exists(), made


@pytest.mark.slow
def test_notebook_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Image=str, display=shown.append))
    run_page(list(blocks_of_notebook()), folder)
    assert len(shown) == 6


def test_notebook_is_that_of_the_page() -> None:
    make: Callable[[str], str] = runpy.run_path(str(ROOT / "docs" / "make_notebook.py"))["make_notebook"]
    assert NOTEBOOK.read_text() == make((FOLDER / "quickstart.md").read_text())


def test_every_page_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(PAGES)
