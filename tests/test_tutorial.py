"""The tutorial: its commands and blocks run, page after page in one folder; the notebook is made of the same."""

import ast
import json
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import ssd
from ssd import cli
from tests.test_docs import file_name, read_blocks

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorial"
PAGES = ("quickstart", "own-data", "fine-tune", "export")

# Behind the words of a command, what makes it small.
SHORT = ["SOLVER.MAX_ITER", 4, "SOLVER.BATCH_SIZE", 4, "DATA_LOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
TRAINING = list(map(str, SHORT))
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


def blocks_of_notebook(name: str) -> Iterator[tuple[str, str]]:
    """The code cells of a notebook, but the one that installs the library."""
    for cell in json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]:
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
    run_page(list(blocks_of_notebook("quickstart")), folder)
    assert len(shown) == 6


@pytest.mark.slow
def test_every_cell_of_the_python_notebook_shows_something(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = ssd.train
    monkeypatch.setattr(ssd, "train", lambda name, _, **options: train(name, SHORT, **options), raising=False)
    names: dict[str, Any] = {}
    for language, block in blocks_of_notebook("python"):
        if language == "bash":
            run_command(block.strip().replace("--train 400 --test 40", ""))
            continue
        *statements, last = ast.parse(block).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(statements, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        assert value is not None, block
        assert not hasattr(value, "_repr_html_") or len(value._repr_html_()) > 100, block
    assert (folder / "model.onnx").exists()


def test_notebooks_are_those_of_the_pages() -> None:
    notebooks = runpy.run_path(str(ROOT / "docs" / "make_notebook.py"))
    for name, last in notebooks["NOTEBOOKS"].items():
        page = (FOLDER / f"{name}.md").read_text()
        assert (FOLDER / f"{name}.ipynb").read_text() == notebooks["make_notebook"](page, last), name


def test_every_page_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {*PAGES, "python"}
