"""The report of a check for people."""

from collections.abc import Iterator, Sequence

from ssd.tools.data.check.objects import QUANTILES, ObjectCounts
from ssd.tools.data.check.problem import Problem
from ssd.tools.data.check.report import DataReport, SetReport


def report_to_text(report: DataReport, num_shown: int = 5) -> str:
    """Return the report as lines of text.

    Args:
        report: what to tell.
        num_shown: problems of each kind that are spelt out; the others are counted.
    """
    lines = [line for item in report.sets for line in _set_lines(item, num_shown)]
    if report.problems:
        lines += ["between the datasets", *_problem_lines(report.problems, num_shown)]
    lines += _total_lines(report)
    lines.append(f"errors: {report.num_errors}, warnings: {report.num_warnings}")
    return "\n".join(lines) + "\n"


def _set_lines(report: SetReport, num_shown: int) -> Iterator[str]:
    yield f"{report.name} ({report.role}): {report.num_listed} images listed, {report.num_readable} readable"
    if report.objects:
        yield from _object_lines(report.objects)
    yield from _problem_lines(report.problems, num_shown)
    yield ""


def _object_lines(objects: ObjectCounts) -> Iterator[str]:
    yield f"  {objects.total} objects; {objects.num_images_without} images without any"
    if objects.widths and objects.heights and objects.sides:
        yield "  of the boxes at most" + "".join(f"{quantile:>8.0%}" for quantile in QUANTILES)
        for name, values in (("width, pixels", objects.widths), ("height, pixels", objects.heights)):
            yield f"  {name:<20}" + "".join(f"{value:>8.1f}" for value in values)
        yield f"  {'side / image side':<20}" + "".join(f"{value:>8.3f}" for value in objects.sides)


def _problem_lines(problems: Sequence[Problem], num_shown: int) -> Iterator[str]:
    kinds: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: not problem.is_error):
        kinds.setdefault(problem.kind, []).append(problem)
    for kind, found in kinds.items():
        yield f"  {'error' if found[0].is_error else 'warning'}: {kind}: {len(found)}"
        yield from (f"    {problem.message}" for problem in found[:num_shown])
        if len(found) > num_shown > 0:
            yield f"    ... and {len(found) - num_shown} more"


def _total_lines(report: DataReport) -> Iterator[str]:
    train, test = report.totals("train"), report.totals("test")
    names = list({**train, **test})
    if names:
        width = max(len("class"), *map(len, names))
        yield f"{'class':<{width}}{'train':>10}{'test':>10}"
        yield from (f"{name:<{width}}{train.get(name, 0):>10}{test.get(name, 0):>10}" for name in names)
        yield ""
