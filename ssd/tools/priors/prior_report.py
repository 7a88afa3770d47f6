"""Report on the priors of a layout: figures of the levels and of the objects, a verdict, pictures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ssd.tools.priors.coverage import Coverage, Group, ImageBoxes, Part, make_part, measure
from ssd.tools.priors.layout import Layout
from ssd.tools.priors.prior_plots import plot_shapes
from ssd.tools.priors.verdict import make_verdict
from ssd.tools.report.elements import code, definitions, gallery, paragraph, plot
from ssd.tools.report.page import Section, make_page
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import write_json, write_text
from ssd.visualization.plots import plot_class_bars

_TITLES = {
    "data": "boxes of {n} images, as the network sees them",
    "augmented": "boxes of {n} samples of the training's augmentation",
}
_WORDS = (
    ("prior, anchor", "a box at a fixed place, which the network moves and scales onto an object"),
    ("IoU", "area that two boxes share over the area that they cover together, 0 to 1"),
    ("covered", "some prior overlaps the object with an IoU of the threshold or more, so training can learn it well"),
    ("only forced", "no prior is matched by the threshold: the best one is taken whatever its IoU, and learns badly"),
    ("positives", "priors that are matched to an object and learn it"),
    ("best", "the prior of the highest IoU with an object, and the level that it is on"),
    ("augmented", "objects as training sees them, after expanding, cropping and mirroring"),
)
_MAX_CLASSES, _MAX_BARS = 20, 40  # classes in the text, in the picture


@dataclass(frozen=True)
class Level:
    """A feature map."""

    number: int  # from 1
    feature_map: tuple[int, int]  # (rows, columns)
    stride: float  # pixels, the geometric mean of both directions
    shapes: Sequence[tuple[float, float]]  # (width, height) in pixels of the priors of a cell
    num_priors: int
    best: dict[str, float]  # share of the objects whose best prior is here, by part
    positives: dict[str, float]  # share of the matched priors, by part


@dataclass(frozen=True)
class PriorReport:
    """Coverage of the training boxes by the priors of a layout."""

    layout: Layout
    coverages: dict[str, Coverage]  # by part: "data", the resized images, and "augmented", samples of the training
    levels: list[Level]  # the finest first
    parts: dict[str, Part]  # groups of the objects, by part
    verdict: list[str]  # in sentences

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and the verdict as containers, strings and numbers, for JSON."""
        return {
            "image_size": self.layout.levels.image_size,
            "iou_threshold": self.layout.iou_threshold,
            "levels": [asdict(level) for level in self.levels],
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "verdict": self.verdict,
        }

    def to_text(self) -> str:
        """Return the report as lines of text."""
        height, width = self.layout.levels.image_size
        threshold = self.layout.iou_threshold
        lines = [f"network input {width} x {height} pixels (width x height); a match needs IoU {threshold:g}"]
        lines += _level_lines(self.levels)
        for name, part in self.parts.items():
            lines += ["", _TITLES[name].format(n=part.num_images), *_table("", [part.total])]
            lines += _table("side, pixels", part.by_size) + _table("width : height", part.by_aspect)
            lines += _table("class, worst first", part.by_class[:_MAX_CLASSES])
            if len(part.by_class) > _MAX_CLASSES:
                lines.append(f"  ... and {len(part.by_class) - _MAX_CLASSES} more classes")
        return "\n".join([*lines, "", *(f"- {sentence}" for sentence in self.verdict)]) + "\n"

    def write(self, folder: Path) -> None:
        """Write priors.html, a page, priors.txt and priors.json into a folder, created if missing."""
        with os_errors_as(OutputError, folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "priors.json", self.as_dict(), indent=1)
            write_text(folder / "priors.txt", self.to_text())
            write_text(folder / "priors.html", self.to_html())

    def to_html(self) -> str:
        """Return the report as a page: the verdict, plots, and the words that it uses."""
        data = self.parts["data"]
        recalls = {f"{group.name} pixels": group.recall for group in data.by_size}
        recalls |= {group.name: group.recall for group in data.by_aspect}
        classes = {group.name: group.recall for group in data.by_class[:_MAX_BARS]}
        covered = "share of objects that some prior covers"
        coverage = [
            _bars(recalls, covered, "Objects that are covered, by size and by width : height."),
            _bars(classes, covered, "Objects that are covered, by class, worst first."),
        ]
        shapes = partial(plot_shapes, self.coverages["data"], self.layout.levels)
        sections = [
            Section("coverage", "Which objects are covered", gallery(coverage)),
            Section("shapes", "Shapes", plot(shapes, "Widths and heights", "Objects and priors by width and height.")),
            Section("words", "The words", definitions("facts", _WORDS)),
            Section("numbers", "All numbers", code(self.to_text()), is_folded=True),
        ]
        total, (height, width) = data.total, self.layout.levels.image_size
        lead = f"{total.num_objects:,} objects in {data.num_images:,} images, network input {width} × {height} pixels"
        verdict = paragraph(f"The anchors cover {total.recall:.1%} of the objects.", "verdict")
        content = verdict + "".join(map(paragraph, self.verdict))
        return make_page("How well the anchors (priors) cover the objects", lead, content, sections)


def make_report(layout: Layout, boxes: dict[str, list[ImageBoxes]], class_names: Sequence[str]) -> PriorReport:
    """Measure a layout on the boxes of the parts "data" and "augmented"."""
    coverages = {name: measure(images, layout) for name, images in boxes.items()}
    parts = {name: make_part(coverage, class_names) for name, coverage in coverages.items()}
    levels = []
    for index, num_priors in enumerate(layout.level_sizes):
        best, positives = {}, {}
        for name, coverage in coverages.items():
            best[name] = (coverage.best_level == index).float().mean().item()
            positives[name] = coverage.level_positives[index] / max(sum(coverage.level_positives), 1)
        feature_map, shapes = layout.levels.feature_maps[index], layout.levels.shapes[index]
        stride = layout.pixel_strides[index]
        levels.append(Level(index + 1, feature_map, stride, shapes, num_priors, best, positives))
    return PriorReport(layout, coverages, levels, parts, make_verdict(parts["data"], coverages["data"], layout))


def _bars(values: dict[str, float], label: str, caption: str) -> str:
    alt = "Bars: " + ", ".join(f"{name} {value:.2f}" for name, value in values.items())
    return plot(partial(plot_class_bars, values, label), alt, caption)


def _level_lines(levels: Sequence[Level]) -> list[str]:
    heading = "".join(f"{name + ' best':>16}{'positives':>11}" for name in levels[0].best)
    lines = [f"{'level':<7}{'map':>9}{'stride':>8}{'priors':>8}{'sizes':>14}{heading}"]
    for level in levels:
        cells = f"{level.feature_map[1]}x{level.feature_map[0]}"
        sizes = f"{level.shapes[0][0]:.0f}, {level.shapes[1][0]:.0f}"
        shares = "".join(f"{level.best[name]:>16.1%}{level.positives[name]:>11.1%}" for name in level.best)
        lines.append(f"{level.number:<7}{cells:>9}{level.stride:>8.0f}{level.num_priors:>8}{sizes:>14}{shares}")
    return lines


def _table(title: str, groups: Sequence[Group]) -> list[str]:
    width = max(18, *(len(group.name) for group in groups))
    columns = f"{'objects':>9}{'covered':>9}{'median IoU':>12}{'only forced':>13}{'positives':>11}"
    rows = [
        f"  {group.name:<{width}}{group.num_objects:>9}{group.recall:>9.1%}{group.median_iou:>12.2f}"
        f"{group.num_forced:>13}{group.positives:>11.1f}"
        for group in groups
    ]
    return [f"  {title:<{width}}{columns}", *rows]
