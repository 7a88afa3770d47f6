"""What the figures mean, and what to do, in sentences."""

from collections.abc import Sequence
from pathlib import Path

from ssd.tools.priors.coverage import least_sure_size
from ssd.tools.priors.groups import Group
from ssd.tools.priors.layout import Layout
from ssd.tools.priors.measure import Coverage
from ssd.tools.priors.report import Part

NONE, POOR, FAIR = 0.05, 0.5, 0.9  # recall below: unreachable, poor, worth a word
_MANY_SMALL = 0.1  # share of the objects
_MAX_NAMES = 5
_FAR_APART = 0.15  # recall in the stream below that of the data


def make_verdict(parts: dict[str, Part], coverage: Coverage, layout: Layout, finer: str) -> list[str]:
    """Judge a layout.

    Args:
        parts: see ``PriorReport``.
        coverage: of the part "data".
        layout: judged.
        finer: how to get a finer level, a sentence.
    """
    data, threshold = parts["data"], layout.iou_threshold
    sentences = [_no_class(group, threshold) for group in data.by_class if group.recall < NONE][:_MAX_NAMES]
    poor = [group for group in data.by_class if NONE <= group.recall < POOR]
    fair = [group for group in data.by_class if POOR <= group.recall < FAIR]
    unreachable = sum(group.recall < NONE for group in data.by_class)
    if unreachable > _MAX_NAMES:
        sentences.append(f"So it is with {unreachable - _MAX_NAMES} more classes.")
    if poor:
        sentences.append(f"Less than half of the objects reach {threshold:g}: {_names(poor)}.")
    if fair:
        sentences.append(f"{POOR:.0%} to {FAIR:.0%} reach it: {_names(fair)}.")
    if not sentences:
        sentences.append(f"Of every class {FAIR:.0%} of the objects or more reach IoU {threshold:g}.")
    forced = data.total.num_forced
    if forced:
        sentences.append(
            f"{forced} of {data.total.num_objects} objects ({forced / data.total.num_objects:.1%}) train one prior "
            "only, the forced match."
        )
    return sentences + _small(data, coverage, layout, finer) + _augmented(parts)


def describe_finer_level(backbone: str, out_indices: Sequence[int], finer_index: int | None) -> str:
    """Say how to get a finer level than the first.

    Args:
        backbone: MODEL.BACKBONE.NAME.
        out_indices: of the backbone as it is; empty if its levels are fixed.
        finer_index: of the last layer that is finer than the first of these; None = there is none.
    """
    if finer_index is None:
        return f"Backbone {backbone} has no finer level to offer: enlarge INPUT.IMAGE_SIZE"
    indices = [finer_index, *out_indices]
    return (
        f"Set MODEL.BACKBONE.OUT_INDICES {indices}, which adds a finer level (the lists of MODEL.PRIORS get one entry "
        "more in front), or enlarge INPUT.IMAGE_SIZE"
    )


def compare(before: Part, after: Part, written: Path) -> list[str]:
    """Say what a fit changed, in the boxes of the data.

    Args:
        before: of the config.
        after: of the fitted priors.
        written: where they are.
    """
    old, new = before.total, after.total
    sentences = [
        f"{written}: {new.recall:.1%} of the objects reach the threshold, before {old.recall:.1%}; "
        f"{new.num_forced} have the forced match alone, before {old.num_forced}; "
        f"{new.positives:.1f} priors match an object, before {old.positives:.1f}."
    ]
    recalls = {group.name: group.recall for group in before.by_class}
    lost = [group for group in after.by_class if group.recall < recalls[group.name] - 0.02]
    if lost:
        sentences.append(f"These lose by it: {_names(lost)}.")
    return sentences


def _no_class(group: Group, threshold: float) -> str:
    quantifier = "no" if group.recall == 0 else "almost no"
    share = "" if group.recall == 0 else f", {group.recall:.1%} do"
    return (
        f"{group.name}: {quantifier} object reaches IoU {threshold:g} ({group.num_objects} objects{share}; half of "
        f"them have at best {group.median_iou:.2f}; median side {group.median_side:.0f} pixels). Do not expect the "
        "detector to find it."
    )


def _names(groups: Sequence[Group]) -> str:
    named = ", ".join(f"{group.name} ({group.recall:.0%} of {group.num_objects})" for group in groups[:_MAX_NAMES])
    more = len(groups) - _MAX_NAMES
    return named + (f" and {more} more" if more > 0 else "")


def _small(data: Part, coverage: Coverage, layout: Layout, finer: str) -> list[str]:
    """What the finest grid is too coarse for, whatever the priors: many objects, or most of a class."""
    stride = min(layout.pixel_strides)
    least = least_sure_size(layout.iou_threshold) * stride
    share = (coverage.sides < least).float().mean().item()
    classes = [group.name for group in data.by_class if group.median_side < least and group.recall < FAIR]
    if share < _MANY_SMALL and not classes:
        return []
    named = ", ".join(classes[:_MAX_NAMES]) + (", ..." if len(classes) > _MAX_NAMES else "")
    most = f", most of {named} among them" if classes else ""
    return [
        f"{share:.0%} of the objects have sides below {least:.0f} pixels, {least / stride:.1f} strides of the finest "
        f"level ({stride:.0f}){most}: even a prior of their own shape misses some of them, as they lie between the "
        f"centres. {finer}."
    ]


def _augmented(parts: dict[str, Part]) -> list[str]:
    stream, data = parts["augmented"].total, parts["data"].total
    if stream.recall > data.recall - _FAR_APART:
        return []
    return [
        f"In training expansion and cropping change sizes, and only {stream.recall:.0%} of the objects reach it "
        f"({data.recall:.0%} without): most of the difference are objects that an expansion made smaller. "
        "INPUT.AUGMENTATION.EXPAND False leaves it out."
    ]
