"""Pictures and tables as HTML, for notebooks, and pictures on the screen."""

import base64
import io
import os
import sys
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image, ImageShow

from ssd.utils.errors import ImageError

_MAX_SIDE = 800  # pixels of a picture in a page
_MAX_ROWS = 20


def picture_html(image: np.ndarray, text: str = "") -> str:
    """Return RGB uint8 (H, W, 3) as an <img> that holds its pixels, of at most 800 pixels a side."""
    picture, content = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    picture.save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}" style="max-width: 100%">'


def table_html(columns: Sequence[str], rows: Sequence[Iterable[object]]) -> str:
    """Return the first 20 rows as a <table>, and the number of the others."""
    lines = ["".join(f"<th>{escape(column)}</th>" for column in columns)]
    lines += ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows[:_MAX_ROWS]]
    rest = f"<p>{len(rows) - _MAX_ROWS} more</p>" if len(rows) > _MAX_ROWS else ""
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>{rest}"


def show_picture(image: np.ndarray, name: str) -> None:
    """Show RGB uint8 (H, W, 3) below the cell of a notebook, or in a window; ImageError where there is neither."""
    picture = Image.fromarray(image)
    if "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel"):
        sys.modules["IPython"].display.display(picture)
        return
    has_screen = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if not has_screen or not ImageShow.show(picture, title=name):
        raise ImageError(f"{name}: no screen or no image viewer was found; use save(FILE)")
