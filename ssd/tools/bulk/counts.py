"""How many images and objects a job has come across."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ssd.tools.bulk.rows import Failure, Row

_MAX_SHOWN = 10


@dataclass
class Counts:
    """What one part holds, or several.

    Attributes:
        num_images: with the failed ones.
        failures: why images failed, one text each.
        detections: number of objects by class.
    """

    num_images: int = 0
    failures: list[str] = field(default_factory=list)
    detections: dict[str, int] = field(default_factory=dict)


def count_rows(rows: Sequence[Row]) -> Counts:
    """Count the rows of a part."""
    failures = [row.error for row in rows if isinstance(row, Failure)]
    names = Counter(name for row in rows if not isinstance(row, Failure) for name in row.names)
    return Counts(len(rows), failures, dict(names))


def add_up(parts: Iterable[Counts]) -> Counts:
    """Return the counts of several parts together."""
    total = Counts()
    detections: Counter[str] = Counter()
    for part in parts:
        total.num_images += part.num_images
        total.failures += part.failures
        detections.update(part.detections)
    return Counts(total.num_images, total.failures, dict(detections.most_common()))


def format_counts(counts: Counts) -> str:
    """Return them as lines: images, objects of each class, the most frequent first, and the first failures."""
    lines = [f"{counts.num_images} images, {len(counts.failures)} failed; {sum(counts.detections.values())} objects"]
    width = max((len(str(count)) for count in counts.detections.values()), default=0)
    lines += [f"  {count:>{width}} {name}" for name, count in counts.detections.items()]
    if counts.failures:
        lines += ["Failed:", *(f"  {failure}" for failure in counts.failures[:_MAX_SHOWN])]
    if len(counts.failures) > _MAX_SHOWN:
        lines.append(f"  and {len(counts.failures) - _MAX_SHOWN} more: all of them have an error in their part")
    return "\n".join(lines)
