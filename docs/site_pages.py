"""Hook of mkdocs: the pages that are written at build time, and links from pages to files of the repository.

Pages link to code and configs by their relative paths, as readers of the repository need it. The site has a page for
each file that is linked, so that it is whole without the repository and without the internet.
"""

import importlib.util
import os
import posixpath
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]*)((?:#[^)\s]*)?\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
# Files of the repository that have a page of the menu: their text, or what is made of it.
COPIES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
META = {"index.md": {"hide": ["navigation", "toc"]}, "tutorial/own-data.md": {"search": {"boost": 4}}}  # of the theme
PAGES = {"ssd/config/defaults.py": "reference/config.md", "ssd/cli.py": "reference/commands.md", **COPIES}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository, and to the source of each page, where pyproject.toml has its address."""
    address = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if address:
        config.repo_url, config.edit_uri = address[1], "edit/main/docs/"
        config.theme["features"].append("content.action.edit")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and one for each file of the repository that a page links to."""
    reference = _load_reference()
    for name, text in reference.make_pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    for source, name in COPIES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text().replace("](docs/", "](")))
    linked = {path for file in files.documentation_pages() for path in _linked_paths(file)}
    for path in sorted(linked - PAGES.keys()):
        page = File.generated(config, _page_of(path), content=_show(path))
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Turn links that leave docs/ into links to the pages that show their files; add what the theme needs of a page."""
    page.meta |= META.get(page.file.src_uri, {})

    def to_page(match: re.Match[str]) -> str:
        path = _resolve(page.file.src_uri, match[2])
        if path is None:
            return match[0]
        target = posixpath.relpath(_page_of(path), posixpath.dirname(page.file.src_uri))
        return f"{match[1]}{target})"

    return LINK.sub(to_page, markdown)


def _load_reference() -> ModuleType:
    """The generator of the reference: mkdocs loads hooks by their paths, so it is no module to import."""
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _linked_paths(file: File) -> list[str]:
    """What a page links to outside of docs/, relative to the repository."""
    paths = [_resolve(file.src_uri, match[2]) for match in LINK.finditer(file.content_string)]
    return [path for path in paths if path is not None]


def _resolve(page: str, link: str) -> str | None:
    """The path in the repository of a link of a page; None, if it stays within docs/ or leads nowhere."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith(("docs/", "..")) or not (ROOT / path).exists() else path


def _page_of(path: str) -> str:
    return PAGES.get(path, f"source/{path}.md")


def _show(path: str) -> str:
    """A page with the content of a file, or the names in a folder; the search passes it over."""
    return f"---\nsearch:\n  exclude: true\n---\n\n{_content_of(path)}"


def _content_of(path: str) -> str:
    file = ROOT / path
    if file.is_dir():
        names = sorted(os.path.relpath(entry, file) for entry in file.rglob("*.*") if "__pycache__" not in entry.parts)
        return f"# {path}\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    fence = "`" * 6
    return f"# {path}\n\n{fence}{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text()}\n{fence}\n"
