"""What came of measuring the priors of a config, as plain data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ssd.tools.priors.groups import Group, group_all, group_by_aspect, group_by_class, group_by_size
from ssd.tools.priors.layout import Layout
from ssd.tools.priors.measure import Coverage


@dataclass(frozen=True)
class Level:
    """A feature map.

    Attributes:
        number: from 1.
        feature_map: (rows, columns).
        stride: pixels, the geometric mean of both directions.
        shapes: width and height in pixels of the priors of a cell.
        num_priors: on the whole map.
        best: share of the objects whose best prior is here, by name of the part.
        positives: share of the matched priors that are here, by name of the part.
    """

    number: int
    feature_map: tuple[int, int]
    stride: float
    shapes: list[tuple[float, float]]
    num_priors: int
    best: dict[str, float]
    positives: dict[str, float]


@dataclass(frozen=True)
class Part:
    """How one set of boxes is covered.

    Attributes:
        num_images: they are in.
        total: of all.
        by_size: see ``group_by_size``.
        by_aspect: see ``group_by_aspect``.
        by_class: see ``group_by_class``.
    """

    num_images: int
    total: Group
    by_size: list[Group]
    by_aspect: list[Group]
    by_class: list[Group]


@dataclass(frozen=True)
class PriorReport:
    """How the priors of a layout cover training boxes.

    Attributes:
        image_size: (height, width) of the network input in pixels.
        iou_threshold: MODEL.THRESHOLD.
        levels: finest first.
        parts: "data", the boxes of the resized images, and "augmented", those of the training's stream.
        verdict: sentences.
    """

    image_size: tuple[int, int]
    iou_threshold: float
    levels: list[Level]
    parts: dict[str, Part]
    verdict: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as containers, strings and numbers, for JSON."""
        return asdict(self)


def make_part(coverage: Coverage, class_names: Sequence[str]) -> Part:
    """Summarise a coverage of at least one object."""
    return Part(
        coverage.num_images,
        group_all(coverage),
        group_by_size(coverage),
        group_by_aspect(coverage),
        group_by_class(coverage, class_names),
    )


def make_levels(layout: Layout, coverages: dict[str, Coverage]) -> list[Level]:
    """Describe the levels of a layout, and what each has of every coverage."""
    best = {
        name: (coverage.best_level.bincount(minlength=layout.num_levels) / len(coverage.labels)).tolist()
        for name, coverage in coverages.items()
    }
    positives = {
        name: [count / max(sum(coverage.level_positives), 1) for count in coverage.level_positives]
        for name, coverage in coverages.items()
    }
    return [
        Level(
            number=level + 1,
            feature_map=layout.feature_maps[level],
            stride=layout.pixel_strides[level],
            shapes=layout.shapes[level],
            num_priors=layout.level_sizes[level],
            best={name: shares[level] for name, shares in best.items()},
            positives={name: shares[level] for name, shares in positives.items()},
        )
        for level in range(layout.num_levels)
    ]
