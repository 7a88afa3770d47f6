"""Notebooks of docs/tutorial from the pages of their names: ``python docs/make_notebook.py``.

Text becomes Markdown cells, Python blocks code cells, commands lines that begin with "!".
"""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "tutorial"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(
    r"!?\[([^\]]*)\]\((?!https?:)[^)]*\)"
)  # a notebook stands alone: of a link within docs/ stays the text
INSTALL = """\
# Colab: drag the wheel (ssd_detector-...-py3-none-any.whl) into the files first
import glob
import importlib.util

if importlib.util.find_spec("ssd") is None:
    %pip install -q {" ".join(glob.glob("ssd_detector-*.whl"))}
"""
SHOW = """\
from pathlib import Path

from IPython.display import Image, display

for path in sorted(Path("drawn").iterdir()):
    display(Image(str(path)))
"""
NOTEBOOKS = {"quickstart": SHOW, "python": ""}  # page -> its last cell


def make_notebook(page: str, last: str = "") -> str:
    """Return the notebook of a page as JSON (nbformat 4.5).

    Args:
        page: Markdown; its parts "Data", "Train", ... begin with "## ", and what is before them is of the page alone.
        last: A further cell.
    """
    title, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    cells = [("markdown", title.partition("\n\n")[0]), ("code", INSTALL)]
    for section in sections:
        start = 0
        for match in BLOCK.finditer(section):
            cells.append(("markdown", _prose(section[start : match.start()])))
            cells.append(("code", _code(match[1], match[2])))
            start = match.end()
        cells.append(("markdown", _prose(section[start:])))
    cells.append(("code", last))
    cells = [(kind, source.strip()) for kind, source in cells if source.strip()]
    content = {
        "cells": [_cell(number, kind, source) for number, (kind, source) in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _prose(text: str) -> str:
    """Text without pictures, and without the links that lead to other pages."""
    text = re.sub(r"^!\[.*$", "", text, flags=re.MULTILINE)
    text = text.partition("\nNext: ")[0]
    return LINK.sub(r"\1", text)


def _code(language: str, block: str) -> str:
    return "".join(f"!{line}\n" for line in block.splitlines()) if language == "bash" else block


def _cell(number: int, kind: str, source: str) -> dict[str, object]:
    cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": source.splitlines(keepends=True)}


if __name__ == "__main__":
    for name, last in NOTEBOOKS.items():
        (FOLDER / f"{name}.ipynb").write_text(make_notebook((FOLDER / f"{name}.md").read_text(), last))
