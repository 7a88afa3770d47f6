"""Plot of the shapes of priors and boxes."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ssd.modeling.detector.levels import Levels
from ssd.tools.priors.coverage import Coverage
from ssd.visualization.theme import LIGHT, MARKERS, WIDE, Theme, add_legend, make_figure

_MAX_POINTS = 3000


def plot_shapes(coverage: Coverage, levels: Levels, theme: Theme = LIGHT) -> Figure:
    """Plot width against height of priors and of up to 3000 objects."""
    figure, grid = make_figure(theme, width=WIDE / 1.4, height=WIDE / 1.9)
    axes = grid[0, 0]
    step = -(-len(coverage.labels) // _MAX_POINTS)
    sizes, is_covered = coverage.sizes[::step].numpy(), coverage.is_covered[::step].numpy()
    kinds = (
        ("covered object", is_covered, theme.series[0], "."),
        ("object that no prior covers", ~is_covered, theme.series[1], "x"),
    )
    for label, mask, color, marker in kinds:
        axes.plot(*sizes[mask].T, marker, color=color, markersize=4, alpha=0.55, label=label, rasterized=True)
    for level, shapes in enumerate(levels.shapes):
        style = {"markersize": 6.5, "markeredgewidth": 1.1, "markerfacecolor": "none", "markeredgecolor": theme.text}
        marker = MARKERS[level % len(MARKERS)]
        axes.plot(*np.array(shapes).T, marker, linestyle="", label=f"priors, level {level + 1}", **style)
    low = min(sizes.min(), *(min(shape) for shapes in levels.shapes for shape in shapes)) / 1.2
    high = max(*levels.image_size, *(max(shape) for shapes in levels.shapes for shape in shapes)) * 1.1
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set(xlabel="width, pixels of the network input", ylabel="height, pixels")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    add_legend(axes, theme, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
