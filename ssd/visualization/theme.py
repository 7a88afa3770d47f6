"""Style of the plots: one palette, two themes, sizes legible in print; matplotlib without pyplot's global state."""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from ssd.visualization.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION, YELLOW

# 8 line styles and markers, 7 colours: without a common divisor the first 56 series differ.
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 2)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")

# Inches. Letters of 9 and 10 points are legible in print and on a phone.
WIDTH, HEIGHT = 4.6, 3.3
WIDE = 9.4
FONT_SIZE, SMALL_FONT_SIZE = 10, 9


@dataclass(frozen=True)
class Theme:
    """Colours of a plot; contrasts are with the background."""

    name: str
    background: str
    text: str  # letters and axes
    muted: str  # less important parts; contrast of 4.5:1 or more
    grid: str  # lines behind the data
    series: tuple[str, ...]  # data, in order; contrast of 3:1 or more, 2:1 for the last two of the light theme
    ramp: tuple[str, str, str]  # heat map, from low to high

    @property
    def colormap(self) -> LinearSegmentedColormap:
        """The ramp as a colormap."""
        return LinearSegmentedColormap.from_list(f"ssd_{self.name}", list(self.ramp))


LIGHT = Theme(
    name="light",
    background="#FFFFFF",
    text="#1B1F24",
    muted="#59626D",
    grid="#D9DEE4",
    series=(BLUE, VERMILLION, GREEN, PURPLE, "#000000", ORANGE, SKY_BLUE),
    ramp=("#FFFFFF", "#6FB1D8", "#08306B"),
)
DARK = Theme(
    name="dark",
    background="#16191D",
    text="#E8EBEF",
    muted="#A3ADB8",
    grid="#363D46",
    series=(SKY_BLUE, ORANGE, GREEN, YELLOW, "#FFFFFF", PURPLE, VERMILLION),
    ramp=("#16191D", "#0072B2", "#D6ECFA"),
)


def make_figure(
    theme: Theme = LIGHT, *, width: float = WIDTH, height: float = HEIGHT, rows: int = 1, columns: int = 1
) -> tuple[Figure, np.ndarray]:
    """Return a figure of a width and height in inches, and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), facecolor=theme.background, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        _style_axes(axes, theme)
    return figure, grid


def series_style(index: int, theme: Theme = LIGHT) -> dict[str, Any]:
    """Return colour, line style and marker of a line, arguments of ``Axes.plot``."""
    return {
        "color": theme.series[index % len(theme.series)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.6,
    }


def bar_style(index: int, theme: Theme = LIGHT) -> dict[str, Any]:
    """Return colour and hatching of a bar or area, arguments of ``Axes.bar``."""
    return {
        "facecolor": theme.series[index % len(theme.series)],
        "edgecolor": theme.background,
        "hatch": HATCHES[index % len(HATCHES)],
        "linewidth": 0.5,
    }


def add_legend(axes: Axes, theme: Theme = LIGHT, **kwargs: Any) -> Legend:
    """Add a legend in the colours of a theme, with the arguments of ``Axes.legend``."""
    colors = {"labelcolor": theme.text, "facecolor": theme.background, "edgecolor": theme.grid}
    return axes.legend(**{"fontsize": SMALL_FONT_SIZE, "framealpha": 0.9, **colors, **kwargs})


def figure_to_svg(figure: Figure) -> str:
    """Return a figure as SVG, the same for equal figures, with letters as text."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ssd"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from font")  # the reader's fonts draw the letters
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def figure_to_rgb(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Return a figure as RGB uint8, (H, W, 3)."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _style_axes(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(theme.background)
    axes.set_axisbelow(True)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.tick_params(which="both", color=theme.muted, labelcolor=theme.text, labelsize=SMALL_FONT_SIZE)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(theme.text)
        text.set_fontsize(FONT_SIZE)
