"""Elements of a page as HTML. Arguments are plain text, and escaped here, but for ``content``, which is HTML."""

import base64
import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ssd.visualization.theme import DARK, LIGHT, Theme, figure_to_svg

Cell = str | float | None
_CSS_DPI = 96  # CSS pixels of an inch
_MAX_SHRUNK = 500  # CSS pixels; wider plots, whose letters could not be read on a phone, are scrolled there


@dataclass(frozen=True)
class Column:
    """A column of a table; ``spec`` formats its numbers, None for text; ``hint`` explains the title."""

    title: str
    spec: str | None = None
    hint: str = ""


def escape(text: str) -> str:
    """Return text as HTML, with a replacement character for unprintable ones."""
    return html.escape("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text))


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph, of a class of the style sheet if one is given."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>\n"


def code(text: str) -> str:
    """Return text that a click selects as a whole."""
    return f'<pre class="copy">{escape(text)}</pre>\n'


def details(summary: str, content: str) -> str:
    """Return HTML that is shown at a click on its summary."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def definitions(kind: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values: "facts", one pair a row, or "tiles" in large letters."""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n" for name, value in rows)
    return f'<dl class="{kind}">\n{entries}</dl>\n'


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table that a click on a title sorts; the first cell of a row is its heading."""
    heads = ""
    for column in columns:
        kind = "" if column.spec is None else " class=number"
        hint = f' title="{escape(column.hint)}"' if column.hint else ""
        heads += f'<th scope="col"{kind}{hint}><button type="button">{escape(column.title)}</button></th>'
    body = ""
    for row in rows:
        cells = "".join(_cell(column, value) for column, value in zip(columns[1:], row[1:], strict=True))
        body += f'<tr><th scope="row">{escape(str(row[0]))}</th>{cells}</tr>\n'
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table class="sortable">\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def plot(draw: Callable[[Theme], Figure], alt: str, caption: str) -> str:
    """Return a figure, drawn by ``draw`` for the light and the dark theme, with a text alternative and a caption."""
    figures = [draw(theme) for theme in (LIGHT, DARK)]
    light, dark = (data_uri("image/svg+xml", figure_to_svg(figure).encode()) for figure in figures)
    width, height = (round(inches * _CSS_DPI) for inches in figures[0].get_size_inches())
    dark_source = f'<source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
    image = f'<img src="{light}" width="{width}" height="{height}" alt="{escape(alt)}">'
    picture = f"<picture>{dark_source}{image}</picture>"
    if width > _MAX_SHRUNK:
        picture = f'<div class="scroll wide" role="region" tabindex="0" aria-label="Plot">{picture}</div>'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>\n"


def photo(jpeg: bytes, size: tuple[int, int], alt: str, caption: str, items: Sequence[str]) -> str:
    """Return a JPEG image of a width and height, with a text alternative, a caption and a list of items below."""
    entries = "".join(f"<li>{escape(item)}</li>" for item in items)
    image = f'<img src="{data_uri("image/jpeg", jpeg)}" width="{size[0]}" height="{size[1]}" alt="{escape(alt)}">'
    return f'<figure class="photo">{image}<figcaption>{escape(caption)}<ul>{entries}</ul></figcaption></figure>\n'


def gallery(contents: Iterable[str]) -> str:
    """Return HTML elements side by side, as the width allows."""
    entries = "".join(f"<div>{content}</div>\n" for content in contents)
    return f'<div class="gallery">\n{entries}</div>\n'


def data_uri(media_type: str, content: bytes) -> str:
    """Return the content of a file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def number(value: float | None, spec: str) -> str:
    """Return a formatted number, a dash for None and nan."""
    return "–" if value is None or math.isnan(value) else format(value, spec)


def _cell(column: Column, value: Cell) -> str:
    if column.spec is None or isinstance(value, str):
        return f"<td>{'' if value is None else escape(str(value))}</td>"
    is_known = value is not None and not math.isnan(value)
    sort_key = f"{value:.9g}" if is_known else ""
    return f'<td class="number" data-value="{sort_key}">{number(value, column.spec)}</td>'
