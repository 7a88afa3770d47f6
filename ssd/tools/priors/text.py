"""The report on priors for people."""

from collections.abc import Iterator, Sequence

from ssd.tools.priors.groups import Group
from ssd.tools.priors.report import Level, PriorReport

_TITLES = {
    "data": "boxes of {n} images, as the network sees them",
    "augmented": "boxes of {n} samples of the training's augmentation",
}
_MAX_CLASSES = 20


def report_to_text(report: PriorReport) -> str:
    """Return the report as lines of text."""
    height, width = report.image_size
    lines = [f"network input {width} x {height} pixels (width x height); a match needs IoU {report.iou_threshold:g}"]
    lines += _level_lines(report.levels)
    for name, part in report.parts.items():
        lines += ["", _TITLES[name].format(n=part.num_images), *_table("", [part.total])]
        lines += _table("side, pixels", part.by_size) + _table("width : height", part.by_aspect)
        lines += _table("class, worst first", part.by_class[:_MAX_CLASSES])
        if len(part.by_class) > _MAX_CLASSES:
            lines.append(f"  ... and {len(part.by_class) - _MAX_CLASSES} more classes")
    return "\n".join([*lines, "", *verdict_lines(report.verdict)]) + "\n"


def verdict_lines(sentences: Sequence[str]) -> list[str]:
    """Return sentences as a list."""
    return [f"- {sentence}" for sentence in sentences]


def _level_lines(levels: Sequence[Level]) -> Iterator[str]:
    names = list(levels[0].best)
    heading = "".join(f"{name + ' best':>16}{'positives':>11}" for name in names)
    yield f"{'level':<7}{'map':>9}{'stride':>8}{'priors':>8}{'sizes':>14}{heading}"
    for level in levels:
        rows, columns = level.feature_map
        sizes = f"{level.shapes[0][0]:.0f}, {level.shapes[1][0]:.0f}"
        shares = "".join(f"{level.best[name]:>16.1%}{level.positives[name]:>11.1%}" for name in names)
        cells = f"{columns}x{rows}"
        yield f"{level.number:<7}{cells:>9}{level.stride:>8.0f}{level.num_priors:>8}{sizes:>14}{shares}"


def _table(title: str, groups: Sequence[Group]) -> list[str]:
    width = max(18, *(len(group.name) for group in groups))
    columns = f"{'objects':>9}{'reached':>9}{'median IoU':>12}{'only forced':>13}{'positives':>11}"
    return [
        f"  {title:<{width}}{columns}",
        *(
            f"  {group.name:<{width}}{group.num_objects:>9}{group.recall:>9.1%}{group.median_iou:>12.2f}"
            f"{group.num_forced:>13}{group.positives:>11.1f}"
            for group in groups
        ),
    ]
