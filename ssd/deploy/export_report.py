"""Report of an export: text for people, JSON for programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ssd.deploy.latency import Latency
from ssd.deploy.parity import ParityCheck


@dataclass(frozen=True)
class AgreementCheck:
    """Agreement of an int8 detector with the model, see ``agreement``."""

    name: str
    num_images: int
    value: float


@dataclass(frozen=True)
class Accuracy:
    """Average precision of a detector on a dataset; nan if the dataset has no object."""

    name: str
    dataset: str
    metric: str  # voc07, voc or coco
    value: float


@dataclass
class ExportReport:
    """Results of the checks of an export."""

    files: dict[str, int]  # size in bytes by name
    machine: dict[str, Any]  # see ``describe_machine``
    parity: list[ParityCheck] = field(default_factory=list)
    agreement: list[AgreementCheck] = field(default_factory=list)
    accuracy: list[Accuracy] = field(default_factory=list)  # of the model and the exported detectors
    latency: list[Latency] = field(default_factory=list)  # of all ways to run them, batch 1
    notes: list[str] = field(default_factory=list)  # checks that were skipped, and why

    @property
    def is_same(self) -> bool:
        """Whether all comparisons found the same in every image."""
        return not any(check.different for check in self.parity)


def format_report(report: ExportReport) -> str:
    """Return the report as text."""
    sections = [
        [f"{name}: {size / 1e6:.2f} MB" for name, size in report.files.items()],
        [
            *(line for check in report.parity for line in _format_check(check)),
            *map(_format_agreement, report.agreement),
        ],
        _format_accuracy(report.accuracy),
        format_latency(report.latency, report.machine),
        [f"Not checked: {note}" for note in report.notes],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def to_json(report: ExportReport) -> dict[str, Any]:
    """Return the report as dictionaries and lists for JSON; nan becomes null."""
    document = asdict(report)
    for entry, check in zip(document["parity"], report.parity, strict=True):
        entry |= check.totals()
    document = json.loads(json.dumps(document), parse_constant=lambda _: None)
    return {"is_same": report.is_same, **document}


def format_latency(latencies: Sequence[Latency], machine: dict[str, Any]) -> list[str]:
    """Return a table with a line for each candidate and a column for each number of threads."""
    if not latencies:
        return []
    counts = list(dict.fromkeys(latency.num_threads for latency in latencies))
    names = list(dict.fromkeys(latency.name for latency in latencies))
    width = max(map(len, names))
    header = "".join(f"{f'{count} thread' + 's' * (count > 1):>22}" for count in counts)
    lines = [
        "Milliseconds from an image of the network's size to its detections (how many times as fast as the first),",
        f"medians, {machine['cores']} core(s) of {machine['cpu']}",
        f"  {'':{width}}{header}",
    ]
    rows = {(latency.name, latency.num_threads): latency.milliseconds for latency in latencies}
    for name in names:
        times = [_format_time(rows[name, count], rows[names[0], count]) for count in counts]
        lines.append(f"  {name:{width}}" + "".join(f"{time:>22}" for time in times).rstrip())
    notes = dict.fromkeys(f"  {latency.name}: not measured: {latency.note}" for latency in latencies if latency.note)
    return lines + list(notes)


def _format_time(milliseconds: float | None, first: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.2f}" + (f" ({first / milliseconds:.2f} x)" if first else "")


def _format_agreement(entry: AgreementCheck) -> str:
    if math.isnan(entry.value):
        return f"{entry.name} compared with PyTorch: nothing scores above 0.5 in {entry.num_images} image(s)"
    return (
        f"{entry.name} agrees with PyTorch in {entry.value:.1%} of what scores above 0.5 "
        f"(same class, IoU of 0.5 or more) in {entry.num_images} image(s)"
    )


def _format_check(check: ParityCheck) -> list[str]:
    totals = check.totals()
    lines = [
        f"{check.name} compared with PyTorch, batches of {check.batch_size}: {totals['num_matched']} of "
        f"{totals['num_detections']} detections in {len(check.images)} image(s) are the same; "
        f"at most {totals['box_difference']:.2g} pixels and {totals['score_difference']:.1g} in score apart"
    ]
    return lines + [
        f"  another result: {image.name}: {image.num_missing} of {image.num_detections} detections missing, "
        f"{image.num_extra} others instead; the best of these scores {image.top_score:.3f}"
        for image in check.different
    ]


def _format_accuracy(accuracies: Sequence[Accuracy]) -> list[str]:
    lines = []
    for dataset, metric in dict.fromkeys((accuracy.dataset, accuracy.metric) for accuracy in accuracies):
        rows = [accuracy for accuracy in accuracies if accuracy.dataset == dataset]
        figures = ", ".join(f"{row.name} {row.value:.4f}" for row in rows)
        lines.append(f"{'AP' if metric == 'coco' else 'mAP'} on {dataset} ({metric}): {figures}")
    return lines
