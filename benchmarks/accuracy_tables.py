"""Tables of the runs of ``accuracy``: means of each arm, and paired differences."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "mAP07")
Row = Mapping[str, Any]


def format_tables(rows: Sequence[Row], base: str) -> str:
    """Return the tables of each set, then the differences from the arm ``base`` over all sets."""
    sets, arms = (list(dict.fromkeys(row[name] for row in rows)) for name in ("set", "arm"))
    lines: list[str] = []
    for name in sets:
        of_set = [row for row in rows if row["set"] == name]
        iterations, batch_size = of_set[0]["iterations"], of_set[0]["batch_size"]
        lines += ["", f"## {name}: means ({iterations} steps of {batch_size} images)", ""]
        heads = [*_FIGURES, *_class_figures(of_set)]
        lines += _head("arm", *heads, "seeds", "GMAC", "M parameters", "s")
        lines += [_mean_line(arm, [row for row in of_set if row["arm"] == arm], heads) for arm in arms]
        lines += _difference_table(f"{name}: differences from {base}", of_set, arms, base, heads)
    if len(sets) > 1:
        lines += _difference_table(f"all sets: differences from {base}", rows, arms, base, _FIGURES)
    return "\n".join(lines)


def paired_differences(rows: Sequence[Row], arm: str, base: str, figure: str) -> list[float]:
    """Return the differences of a figure between two arms for each (set, seed) that has both."""
    values = {(row["arm"], row["set"], row["seed"]): row["values"].get(figure) for row in rows}
    pairs = [(value, values.get((base, *place))) for (name, *place), value in values.items() if name == arm]
    return [value - other for value, other in pairs if value is not None and other is not None]


def _difference_table(
    title: str, rows: Sequence[Row], arms: Sequence[str], base: str, figures: Sequence[str]
) -> list[str]:
    """Lines of mean +- standard deviation (number of pairs); points, that is hundredths."""
    lines = ["", f"## {title}: mean +- standard deviation of the pairs", "", *_head("arm", *figures, "pairs")]
    for arm in arms:
        if arm == base:
            continue
        cells = [paired_differences(rows, arm, base, figure) for figure in figures]
        lines.append(_line(arm, *map(_format_differences, cells), str(max(map(len, cells), default=0))))
    return lines if len(arms) > 1 else []


def _mean_line(arm: str, rows: Sequence[Row], figures: Sequence[str]) -> str:
    if not rows:
        return _line(arm, *["" for _ in figures], "0", "", "", "")
    found = [[row["values"].get(figure) for row in rows] for figure in figures]
    means = [_mean([value for value in values if value is not None]) for values in found]
    seconds = statistics.mean(row["seconds"] for row in rows)
    size = (f"{rows[0]['gmac']:.2f}", f"{rows[0]['parameters'] / 1e6:.2f}", f"{seconds:.0f}")
    return _line(arm, *means, str(len(rows)), *size)


def _mean(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.1f}" if values else "-"


def _format_differences(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" +- {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):+.1f}{spread}"


def _class_figures(rows: Sequence[Row]) -> list[str]:
    """Per-class figures where there are few classes."""
    names = list(dict.fromkeys(name for row in rows for name in row["values"] if name.startswith("AP/")))
    return names if len(names) <= 10 else []


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|" + "---|" * len(cells)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
