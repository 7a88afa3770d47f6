"""What came of a check, as plain data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ssd.tools.data.check.objects import ObjectCounts
from ssd.tools.data.check.problem import Problem


@dataclass(frozen=True)
class SetReport:
    """What came of one dataset.

    Attributes:
        name: as in DATASETS.
        role: "train" or "test".
        num_listed: images that the split or the annotation file names; 0 if the dataset cannot be used at all.
        num_readable: images that can be decoded, with an annotation that can be read.
        objects: their counts; None if the dataset cannot be used at all.
        problems: in the order in which they were found.
    """

    name: str
    role: str
    num_listed: int
    num_readable: int
    objects: ObjectCounts | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class DataReport:
    """What came of the datasets of a configuration.

    Attributes:
        sets: one report a dataset, those to train on first.
        problems: what is wrong between them.
    """

    sets: tuple[SetReport, ...]
    problems: tuple[Problem, ...]

    @property
    def all_problems(self) -> list[Problem]:
        """Those of the sets, and those between them."""
        return [*(problem for report in self.sets for problem in report.problems), *self.problems]

    @property
    def num_errors(self) -> int:
        """Number of problems that lose something, or make a figure wrong."""
        return sum(problem.is_error for problem in self.all_problems)

    @property
    def num_warnings(self) -> int:
        """Number of problems that training and evaluation cope with."""
        return len(self.all_problems) - self.num_errors

    def totals(self, role: str) -> dict[str, int]:
        """Return the number of objects of each class in all sets of a role."""
        totals: Counter[str] = Counter()
        for report in self.sets:
            if report.role == role and report.objects:
                totals.update(report.objects.by_class)
        return dict(totals)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as containers, strings and numbers, for JSON."""
        return {
            "errors": self.num_errors,
            "warnings": self.num_warnings,
            "totals": {role: self.totals(role) for role in ("train", "test")},
            "sets": [
                {
                    "name": report.name,
                    "role": report.role,
                    "images_listed": report.num_listed,
                    "images_readable": report.num_readable,
                    "objects": report.objects.as_dict() if report.objects else None,
                    "problems": _problems_as_dicts(report.problems),
                }
                for report in self.sets
            ],
            "problems": _problems_as_dicts(self.problems),
        }


def _problems_as_dicts(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [{"severity": "error" if problem.is_error else "warning", **asdict(problem)} for problem in problems]
