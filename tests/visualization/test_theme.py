import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ssd.visualization.palette import CLASS_COLORS, class_color, ink_on
from ssd.visualization.theme import DARK, LIGHT, add_legend, figure_to_rgb, figure_to_svg, make_figure, series_style


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2.2, 1 to 21."""

    def luminance(color: str) -> float:
        values = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(color)]
        return float(np.dot(values, [0.2126, 0.7152, 0.0722]))

    dim, bright = sorted([luminance(first), luminance(second)])
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_contrasts(theme):
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast(theme.text, theme.background) > 7
    assert contrast(theme.muted, theme.background) > 4.5
    strong = theme.series if theme is DARK else theme.series[:-2]
    assert all(contrast(color, theme.background) >= 3 for color in strong)
    assert all(contrast(color, theme.background) > 2 for color in theme.series)


def oklab(color: str) -> np.ndarray:
    """Return lightness and two opponent colours (Ottosson, 2020)."""
    rgb = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(color)]
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.2119, 0.6807, 0.1074], [0.0883, 0.28172, 0.62998]]) @ rgb
    opponents = [[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]]
    return np.array(opponents) @ np.cbrt(cones)


def test_no_two_of_twenty_classes_look_alike():
    assert oklab("#FFFFFF") == pytest.approx([1, 0, 0], abs=1e-3)
    colors = [oklab(class_color(label)) for label in range(1, 21)]
    distances = [np.linalg.norm(colors[i] - colors[j]) for i in range(20) for j in range(i)]
    assert min(distances) > 0.15  # about eight just noticeable differences
    assert class_color(21) == class_color(1)


def test_letters_on_the_colour_of_a_class_and_its_line_on_any_grey():
    greys = [f"#{level:02X}{level:02X}{level:02X}" for level in range(256)]
    for color in CLASS_COLORS:
        assert contrast(color, ink_on(color)) >= 4.5
        assert min(max(contrast(color, grey), contrast(ink_on(color), grey)) for grey in greys) > 2


def test_56_series_differ_by_more_than_colour():
    styles = [series_style(index) for index in range(56)]
    assert len({str(style) for style in styles}) == 56
    by_color = [{(str(s["linestyle"]), s["marker"]) for s in styles if s["color"] == color} for color in LIGHT.series]
    assert [len(others) for others in by_color] == [8] * 7


def test_a_figure_comes_out_as_svg_and_as_pixels():
    def draw():
        figure, ((axes,),) = make_figure(DARK, width=3, height=2)
        axes.plot([0, 1], [0, 1], label="a <class> & more", **series_style(0, DARK))
        axes.set_xlabel("Recall")
        add_legend(axes, DARK)
        return figure

    svg = figure_to_svg(draw())
    assert svg == figure_to_svg(draw())
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"Recall", "a <class> & more"} <= set(texts)
    assert not re.search("<dc:date>", svg)
    pixels = figure_to_rgb(draw(), dpi=50)
    assert (pixels.shape, pixels.dtype) == ((100, 150, 3), np.uint8)
    assert tuple(pixels[0, 0]) == tuple(round(255 * value) for value in to_rgb(DARK.background))
    assert "matplotlib.pyplot" not in sys.modules
