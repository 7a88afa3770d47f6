"""The files of an explanation."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from PIL import Image

from ssd.tools.explain.page import Picture, explanation_page
from ssd.tools.explain.pictures import draw_pictures
from ssd.tools.explain.report import explanation_to_dict
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import atomic_write, write_text
from ssd.visualization.theme import figure_to_rgb

if TYPE_CHECKING:
    from ssd.tools.explain.explanation import Explanation

_DPI = 110


def write_explanation(explanation: "Explanation", folder: Path, detection: int) -> list[Path]:
    """Write explain.html, explain.json and the pictures; see ``Explanation.draw``."""
    if detection != 0:
        explanation.trace(detection)  # there must be such a detection
    figures = draw_pictures(explanation, detection)
    pictures = {name: _make_picture(figure) for name, figure in figures.items()}
    paths = [folder / "explain.html", folder / "explain.json", *(folder / f"{name}.png" for name in pictures)]
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(paths[0], explanation_page(explanation, pictures, detection))
        write_text(paths[1], json.dumps(explanation_to_dict(explanation, detection), indent=1, allow_nan=False))
        for path, picture in zip(paths[2:], pictures.values(), strict=True):
            with atomic_write(path) as file:
                file.write(picture.png)
    return paths


def _make_picture(figure: Figure) -> Picture:
    """A PNG of 256 colours: a third of the size, and as good for a pale image and a few lines."""
    image = Image.fromarray(figure_to_rgb(figure, _DPI))
    content = io.BytesIO()
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return Picture(content.getvalue(), image.size)
