"""The table that a person reads and the JSON that a machine does."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.timing import Comparison, Row, Spread

_WIDTH = 62  # of the names

HEADER = (
    "Times: median [quartiles] over rounds in which the candidates took turns. 'ours takes': our time over the one of\n"
    "that line, round by round: 1.20 is 1.20 times as long, 1/5.00 is five times as fast."
)


def format_machine(machine: Mapping[str, Any]) -> str:
    """Return the machine in a few lines."""
    return "\n".join(f"{name}: {value}" for name, value in machine.items() if value is not None)


def format_comparison(comparison: Comparison) -> str:
    """Return a comparison as lines of text."""
    lines = [f"{comparison.title} ({comparison.unit})"]
    lines += [_format_row(row) for row in comparison.rows]
    lines += [f"  {name}: {_format_number(value)}" for name, value in comparison.facts.items()]
    lines += [f"  {note}" for note in comparison.notes]
    return "\n".join(lines)


def format_ratio(ratio: float) -> str:
    """Return a ratio of times so that both directions read well: 1.20, or 1/5.00."""
    return f"{ratio:.2f}" if ratio >= 1 else f"1/{1 / ratio:.2f}"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain dictionaries and lists."""
    return asdict(comparison)


def _format_row(row: Row) -> str:
    line = f"  {row.name:{_WIDTH}} {_format_spread(row.value)}"
    if row.ratio is None:
        return line
    low, median, high = (format_ratio(value) for value in (row.ratio.low, row.ratio.median, row.ratio.high))
    return f"{line}   ours takes {median} [{low}, {high}]"


def _format_spread(value: Spread) -> str:
    low, median, high = (_format_number(number) for number in (value.low, value.median, value.high))
    return f"{median:>10} [{low}, {high}]"


def _format_number(value: float) -> str:
    """Four digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
