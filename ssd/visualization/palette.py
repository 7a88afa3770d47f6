"""Colours of classes, as #RRGGBB, the same in drawings, reports and plots."""

# Okabe and Ito, Color Universal Design (2008): colours that differ with any colour vision.
VERMILLION, SKY_BLUE, YELLOW, GREEN = "#D55E00", "#56B4E9", "#F0E442", "#009E73"
PURPLE, BLUE, ORANGE = "#CC79A7", "#0072B2", "#E69F00"

# Then those that maximise the least distance of any two in OKLab (Ottosson, 2020), which is 0.156.
_OTHERS = "660022 FFCCFF 004400 6600BB 44FFEE 00DD00 FF00EE AA0077 9955FF 003377 775544 0000FF FF0066"
_FIRST = (VERMILLION, SKY_BLUE, YELLOW, GREEN, PURPLE, BLUE, ORANGE)
CLASS_COLORS = (*_FIRST, *(f"#{color}" for color in _OTHERS.split()))


def class_color(label: int) -> str:
    """Return the colour of a label, from 1; those of 20 labels differ."""
    return CLASS_COLORS[(label - 1) % len(CLASS_COLORS)]


def ink_on(color: str) -> str:
    """Return black or white, whichever has the higher contrast with a colour: 4.58:1 or more (WCAG 2.2)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#FFFFFF"
