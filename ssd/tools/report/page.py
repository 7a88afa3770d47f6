"""HTML page in one file, without requests to the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from ssd.tools.report.elements import escape
from ssd.visualization.theme import DARK, LIGHT, Theme

# The browser itself refuses to fetch anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A part of a page; ``anchor`` is its name in links (letters, digits, dashes), ``content`` is HTML."""

    anchor: str
    title: str
    content: str
    is_folded: bool = False


def make_page(title: str, lead: str, content: str, sections: Sequence[Section]) -> str:
    """Build a page, light or dark as the system is; ``lead`` is a line of text, ``content`` HTML above the sections."""
    style = _variables(LIGHT) + f"@media screen and (prefers-color-scheme: dark) {{ {_variables(DARK)} }}\n"
    style += _read("page.css")
    links = "".join(f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections)
    body = "".join(map(_section, sections))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{content}{body}</main>
<script>
{_read("page.js")}</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    head = f'<h2 id="{section.anchor}-title">{escape(section.title)}</h2>'
    content = f"{head}\n{section.content}"
    if section.is_folded:
        content = f"<details><summary>{head}</summary>\n{section.content}</details>"
    return f'<section id="{section.anchor}" aria-labelledby="{section.anchor}-title">\n{content}</section>\n'


def _variables(theme: Theme) -> str:
    """Colours of the plots as variables of the style sheet."""
    values = (theme.background, theme.text, theme.muted, theme.grid, theme.series[0])
    names = ("background", "text", "muted", "line", "accent")
    return ":root { " + " ".join(f"--{name}: {value};" for name, value in zip(names, values, strict=True)) + " }\n"


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
