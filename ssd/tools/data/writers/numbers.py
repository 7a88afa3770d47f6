"""Coordinates as text: as short as reads back to the same float32."""

from decimal import Decimal

import numpy as np


def shortest(value: np.float32) -> Decimal:
    """Return the shortest decimal number that float32 reads as ``value``."""
    return Decimal(np.format_float_positional(value, unique=True, trim="-"))


def plain(number: Decimal) -> str:
    """Return a number without exponent and trailing zeros."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def start_and_extent(start: np.float32, end: np.float32) -> tuple[float, float]:
    """Return the edges of a box as start and extent, short decimals whose sum in float64 is ``end`` to float32."""
    return float(shortest(start)), float(shortest(end) - shortest(start))
