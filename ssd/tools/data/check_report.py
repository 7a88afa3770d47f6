"""Report of a check of datasets: as data, for JSON, and as text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ssd.data.datasets.policy import CLIPPED, Tally
from ssd.data.datasets.sizes import SIZE_SLIP
from ssd.utils.errors import DatasetError

DUPLICATE = "duplicate image"
UNUSED, SIMILAR = "class without objects", "similar class names"
NOT_READ = "not read"
VERSION, NEAR_DUPLICATE = "version in train and test", "near duplicate in train and test"
# Kinds that training and evaluation handle, or that may be meant; others are errors.
_WARNINGS = (DUPLICATE, UNUSED, SIMILAR, NOT_READ, VERSION, NEAR_DUPLICATE, SIZE_SLIP, f"box {CLIPPED}")


@dataclass(frozen=True)
class Problem:
    """An "error" or a "warning" of a dataset, see ``DatasetError``; an unknown path or field is empty."""

    severity: str
    kind: str
    path: str
    field: str
    message: str


@dataclass(frozen=True)
class ObjectCounts:
    """Number of the objects of a dataset, without boxes that training leaves out."""

    by_class: dict[str, int]
    num_images_without: int


@dataclass(frozen=True)
class SetReport:
    """Report of one dataset; ``role`` is "train" or "test". A dataset that cannot be used has no images and objects."""

    name: str
    role: str
    images_listed: int
    images_readable: int
    objects: ObjectCounts | None
    problems: list[Problem]
    tallies: list[Tally] = field(default_factory=list)


@dataclass(frozen=True)
class DataReport:
    """Report of all datasets of a configuration, training sets first; ``problems`` are those between datasets."""

    sets: list[SetReport]
    problems: list[Problem]

    @property
    def all_problems(self) -> list[Problem]:
        """Problems of the sets, then those between them."""
        return [*(problem for report in self.sets for problem in report.problems), *self.problems]

    def count(self, severity: str) -> int:
        """Return the number of problems of a severity in all datasets."""
        return sum(problem.severity == severity for problem in self.all_problems)

    def totals(self, role: str) -> dict[str, int]:
        """Return the number of objects of each class in all sets of a role."""
        totals: Counter[str] = Counter()
        for report in self.sets:
            if report.role == role and report.objects:
                totals.update(report.objects.by_class)
        return dict(totals)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain containers, for JSON."""
        totals = {role: self.totals(role) for role in ("train", "test")}
        return {"errors": self.count("error"), "warnings": self.count("warning"), "totals": totals, **asdict(self)}


def to_problems(errors: Sequence[DatasetError]) -> list[Problem]:
    """Convert errors to problems, with their severity."""
    severities = ["warning" if error.kind in _WARNINGS else "error" for error in errors]
    return [
        Problem(severity, error.kind, error.path or "", error.field, str(error))
        for severity, error in zip(severities, errors, strict=True)
    ]


def report_to_text(report: DataReport, num_shown: int = 5) -> str:
    """Return the report as text that shows the first ``num_shown`` problems of each kind and counts the others."""
    lines = []
    for item in report.sets:
        lines.append(f"{item.name} ({item.role}): {item.images_listed} images listed, {item.images_readable} readable")
        tallies = [f"  {'; '.join(map(str, item.tallies))}"] if item.tallies else []
        if item.objects:
            total, without = sum(item.objects.by_class.values()), item.objects.num_images_without
            lines.append(f"  {total} objects; {without} images without any")
        lines += [*tallies, *_problem_lines(item.problems, num_shown), ""]
    if report.problems:
        lines += ["between the datasets", *_problem_lines(report.problems, num_shown)]
    train, test = report.totals("train"), report.totals("test")
    names = list({**train, **test})
    if names:
        width = max(len("class"), *map(len, names))
        lines.append(f"{'class':<{width}}{'train':>10}{'test':>10}")
        lines += [*(f"{name:<{width}}{train.get(name, 0):>10}{test.get(name, 0):>10}" for name in names), ""]
    lines.append(f"errors: {report.count('error')}, warnings: {report.count('warning')}")
    return "\n".join(lines) + "\n"


def _problem_lines(problems: Sequence[Problem], num_shown: int) -> Iterator[str]:
    kinds: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: problem.severity):
        kinds.setdefault(problem.kind, []).append(problem)
    for kind, found in kinds.items():
        yield f"  {found[0].severity}: {kind}: {len(found)}"
        yield from (f"    {problem.message}" for problem in found[:num_shown])
        if len(found) > num_shown > 0:
            yield f"    ... and {len(found) - num_shown} more"
