"""The files of an explanation."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from PIL import Image

from ssd.engine.explain.pictures import draw_pictures
from ssd.engine.explain.report import explanation_to_dict
from ssd.evaluation.report import write_text
from ssd.utils.atomic import atomic_write
from ssd.utils.errors import OutputError, os_errors_as
from ssd.visualization.style import figure_to_rgb

if TYPE_CHECKING:
    from ssd.engine.explain.explanation import Explanation

_DPI = 110


def write_explanation(explanation: "Explanation", folder: Path, detection: int) -> list[Path]:
    """Write explain.json and the pictures; see ``Explanation.draw``."""
    if detection != 0:
        explanation.trace(detection)  # there must be such a detection
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "explain.json"]
        write_text(paths[0], json.dumps(explanation_to_dict(explanation, detection), indent=1, allow_nan=False))
        for name, figure in draw_pictures(explanation, detection).items():
            paths.append(folder / f"{name}.png")
            _write_png(figure, paths[-1])
    return paths


def _write_png(figure: Figure, path: Path) -> None:
    """A picture of 256 colours: a third of the size, and as good for a pale image and a few lines."""
    image = Image.fromarray(figure_to_rgb(figure, _DPI)).quantize(
        256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    with atomic_write(path) as file:
        image.save(file, format="PNG", optimize=True)
