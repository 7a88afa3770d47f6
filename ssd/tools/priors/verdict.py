"""Meaning of the figures, and advice, in sentences."""

import math
from collections.abc import Sequence
from pathlib import Path

from ssd.tools.priors.coverage import Coverage, Group, Part
from ssd.tools.priors.layout import Layout

NONE, POOR, FAIR = 0.05, 0.5, 0.9  # recall of a class below which it is hopeless, poor, worth a word
_MANY_SMALL = 0.1  # share of the objects
_MAX_NAMES = 5
_LOST = 0.02  # recall that a class loses by a fit


def make_verdict(data: Part, coverage: Coverage, layout: Layout) -> list[str]:
    """Judge a layout by the objects of the resized images."""
    threshold = layout.iou_threshold
    none = [group for group in data.by_class if group.recall < NONE]
    poor = [group for group in data.by_class if NONE <= group.recall < POOR]
    fair = [group for group in data.by_class if POOR <= group.recall < FAIR]
    sentences = [_no_class(group, threshold) for group in none[:_MAX_NAMES]]
    if len(none) > _MAX_NAMES:
        sentences.append(f"So it is with {len(none) - _MAX_NAMES} more classes.")
    if poor:
        sentences.append(f"Less than half of the objects are covered (IoU {threshold:g}): {_names(poor)}.")
    if fair:
        sentences.append(f"{POOR:.0%} to {FAIR:.0%} are covered: {_names(fair)}.")
    if not sentences:
        sentences.append(f"Of every class {FAIR:.0%} of the objects or more are covered (IoU {threshold:g}).")
    forced, total = data.total.num_forced, data.total.num_objects
    if forced:
        sentences.append(f"{forced} of {total} objects ({forced / total:.1%}) train one prior only, the forced match.")
    return sentences + _small(data, coverage, layout)


def compare(before: Part, after: Part, written: Path) -> list[str]:
    """Say how a fit, written to a file, changed the coverage of the data."""
    old, new = before.total, after.total
    sentences = [
        f"{written}: {new.recall:.1%} of the objects are covered, before {old.recall:.1%}; "
        f"{new.num_forced} have the forced match alone, before {old.num_forced}; "
        f"{new.positives:.1f} priors match an object, before {old.positives:.1f}."
    ]
    recalls = {group.name: group.recall for group in before.by_class}
    lost = [group for group in after.by_class if group.recall < recalls[group.name] - _LOST]
    return [*sentences, f"These lose by it: {_names(lost)}."] if lost else sentences


def min_sure_size(iou_threshold: float) -> float:
    """Return the side of the smallest square, in strides, that priors of its own shape reach at any place.

    The nearest centre is at most half a stride away along each axis. With side a, (a - 1/2)^2 is the intersection and
    2 a^2 - (a - 1/2)^2 the union; their quotient is the threshold t at a = 1 / (2 - 2 sqrt(2 t / (1 + t))), for
    t = 0.5 2.72 strides.
    """
    return math.inf if iou_threshold >= 1 else 1 / (2 - 2 * math.sqrt(2 * iou_threshold / (1 + iou_threshold)))


def _no_class(group: Group, threshold: float) -> str:
    quantifier, share = ("no", "") if group.recall == 0 else ("almost no", f", {group.recall:.1%} are")
    return (
        f"{group.name}: {quantifier} object is covered at IoU {threshold:g} ({group.num_objects} objects{share}; half "
        f"of them have at best {group.median_iou:.2f}; median side {group.median_side:.0f} pixels). Do not expect the "
        "detector to find it."
    )


def _names(groups: Sequence[Group]) -> str:
    named = ", ".join(f"{group.name} ({group.recall:.0%} of {group.num_objects})" for group in groups[:_MAX_NAMES])
    return named + f" and {len(groups) - _MAX_NAMES} more" * (len(groups) > _MAX_NAMES)


def _small(data: Part, coverage: Coverage, layout: Layout) -> list[str]:
    """Return advice if many objects, or most of a class, are too small for the finest grid, whatever the priors."""
    stride = min(layout.pixel_strides)
    strides = min_sure_size(layout.iou_threshold)
    share = (coverage.sides < strides * stride).float().mean().item()
    classes = [group.name for group in data.by_class if group.median_side < strides * stride and group.recall < FAIR]
    if share < _MANY_SMALL and not classes:
        return []
    named = ", ".join(classes[:_MAX_NAMES]) + ", ..." * (len(classes) > _MAX_NAMES)
    most = f", most of {named} among them" if classes else ""
    return [
        f"{share:.0%} of the objects have sides below {strides * stride:.0f} pixels, {strides:.1f} strides of the "
        f"finest level ({stride:.0f}){most}: even a prior of their own shape misses some of them, as they are between "
        "the centres. Enlarge INPUT.IMAGE_SIZE, or add a finer level: a stride in front of MODEL.NECK.STRIDES, or, "
        "without a neck, a layer in front of MODEL.BACKBONE.OUT_INDICES (MobileNets). MODEL.PRIORS then has one entry "
        "more in each list."
    ]
