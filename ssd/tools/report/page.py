"""A page of HTML that needs no other file and no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from ssd.tools.report.elements import escape
from ssd.visualization.theme import DARK, LIGHT, Theme

# The browser itself refuses to fetch anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: its name in links: letters, digits and dashes.
        title: its heading.
        content: HTML.
    """

    anchor: str
    title: str
    content: str


def make_page(title: str, lead: str, content: str, sections: Sequence[Section]) -> str:
    """Build a page, light or dark as its reader's system is.

    Args:
        title: of the page.
        lead: a line of text below it.
        content: HTML above the sections.
        sections: in order; the page begins with links to them.
    """
    style = _variables(LIGHT) + f"@media screen and (prefers-color-scheme: dark) {{ {_variables(DARK)} }}\n"
    style += _read("page.css")
    links = "".join(f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections)
    body = "".join(
        f'<section id="{section.anchor}" aria-labelledby="{section.anchor}-title">\n'
        f'<h2 id="{section.anchor}-title">{escape(section.title)}</h2>\n{section.content}</section>\n'
        for section in sections
    )
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


def _variables(theme: Theme) -> str:
    """The colours of the plots, for the style sheet."""
    values = {
        "background": theme.background,
        "text": theme.text,
        "muted": theme.muted,
        "line": theme.grid,
        "accent": theme.series[0],
    }
    return ":root { " + " ".join(f"--{name}: {value};" for name, value in values.items()) + " }\n"


def _read(name: str) -> str:
    return resources.files("ssd.tools.report").joinpath(name).read_text(encoding="utf-8")
