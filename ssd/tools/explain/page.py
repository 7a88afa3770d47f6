"""An explanation as one HTML page that needs no other file: each picture, what it shows, and its numbers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ssd.tools.explain.matching import Matching
from ssd.tools.explain.report import losses_to_text, mined, mistaken_for, trace_lines
from ssd.tools.report.elements import Cell, Column, data_uri, escape, paragraph, table
from ssd.tools.report.page import Section, make_page

if TYPE_CHECKING:
    from ssd.tools.explain.explanation import Explanation


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        png: the file's content.
        size: (width, height) in pixels.
    """

    png: bytes
    size: tuple[int, int]


def explanation_page(explanation: "Explanation", pictures: Mapping[str, Picture], detection: int) -> str:
    """Return the page.

    Args:
        explanation: what it tells.
        pictures: of ``draw_pictures``, by name.
        detection: whose history it tells.
    """
    sections = [_priors_section(explanation, pictures)]
    if explanation.matching is not None:
        sections.append(_matches_section(explanation, explanation.matching, pictures))
        sections.append(_negatives_section(explanation, explanation.matching, pictures))
    sections.append(_detection_section(explanation, pictures, detection))
    height, width = explanation.image.shape[:2]
    lead = f"{explanation.orig_size[0]} × {explanation.orig_size[1]} pixels, seen as {width} × {height}"
    return make_page(f"How {explanation.name} is seen", lead, "", sections)


def _priors_section(explanation: "Explanation", pictures: Mapping[str, Picture]) -> Section:
    columns = [Column("level"), Column("cells"), Column("stride"), Column("priors", ",d"), Column("shapes, pixels")]
    rows: list[list[Cell]] = [
        [
            str(level.number),
            f"{level.feature_map[1]} × {level.feature_map[0]}",
            f"{level.stride[1]:g}",
            level.num_priors,
            ", ".join(f"{width:.0f}×{height:.0f}" for width, height in level.shapes),
        ]
        for level in explanation.levels
    ]
    text = (
        "Each level is a grid of cells, and each cell has a few priors around its centre: a small and a large square "
        "(solid), then a wide and a tall one for each ratio (dashed, dotted). One cell's are drawn in full."
    )
    content = paragraph(text) + _figure(pictures, "priors", "Priors of each level") + table("Levels", columns, rows)
    return Section("priors", "Priors", content)


def _matches_section(explanation: "Explanation", matching: Matching, pictures: Mapping[str, Picture]) -> Section:
    rows: list[list[Cell]] = []
    for gt, label in enumerate(matching.labels.tolist()):
        priors = matching.priors_of(gt)
        levels = sorted({explanation.place(prior).level for prior in priors.tolist()})
        is_forced = len(priors) > 0 and bool(matching.is_forced[priors].all())
        best = float(matching.iou[priors[0]]) if len(priors) else None
        name = explanation.class_names[label]
        rows.append(
            [str(gt), name, len(priors), best, ", ".join(map(str, levels)), "forced" if is_forced else "by threshold"]
        )
    columns = [
        *(Column("object"), Column("class"), Column("priors", "d"), Column("best IoU", ".3f")),
        *(Column("levels"), Column("match")),
    ]
    text = (
        f"A prior learns the object that it overlaps most, from IoU {matching.iou_threshold:g}. An object that no "
        "prior overlaps as much gets the best one that is left, the forced match. All others learn background."
    )
    content = paragraph(text) + _figure(pictures, "matches", "Objects and their priors")
    return Section("matches", "Matches", content + table("Objects", columns, rows))


def _negatives_section(explanation: "Explanation", matching: Matching, pictures: Mapping[str, Picture]) -> Section:
    rows: list[list[Cell]] = []
    for rank, prior in enumerate(mined(matching).tolist(), start=1):
        name, score = mistaken_for(explanation, prior)
        place, loss = explanation.place(prior), float(matching.cls_loss[prior])
        where = f"level {place.level}, row {place.row}, column {place.column}, shape {place.shape}"
        rows.append([str(rank), where, loss, name, score, float(matching.iou[prior])])
    columns = [
        *(Column("rank"), Column("prior"), Column("loss", ".3f"), Column("mistaken for"), Column("score", ".3f")),
        Column("IoU", ".3f", "with the object that it overlaps most"),
    ]
    num_pos = int(matching.pos_mask.sum())
    text = (
        f"{num_pos} positives and, for each, the {matching.neg_pos_ratio} background priors with the highest loss are "
        f"what the loss is made of: {losses_to_text(matching)}."
    )
    content = paragraph(text) + _figure(pictures, "negatives", "Hard negatives, and the losses of all")
    return Section("negatives", "Hard negatives", content + table("Negatives in the loss", columns, rows))


def _detection_section(explanation: "Explanation", pictures: Mapping[str, Picture], detection: int) -> Section:
    found = explanation.candidates
    if len(found.detections) == 0:
        content = paragraph(f"Nothing scores above {found.score_threshold:g}: there is no detection.")
        return Section("detection", "A detection", content)
    trace = explanation.trace(detection)
    content = "".join(paragraph(line.strip()) for line in trace_lines(explanation, trace))
    content += _figure(pictures, "detection", "How a detection came to be")
    suppressed = zip(trace.suppressed.tolist(), trace.suppressed_iou.tolist(), strict=True)
    rows: list[list[Cell]] = [[str(row), float(found.scores[row]), iou] for row, iou in suppressed]
    columns = [Column("candidate"), Column("score", ".3f"), Column("IoU", ".3f", "with the detection")]
    return Section("detection", "A detection", content + table("Suppressed by it", columns, rows))


def _figure(pictures: Mapping[str, Picture], name: str, caption: str) -> str:
    """A picture, which is scrolled where the page is narrower; nothing where there is none."""
    if name not in pictures:
        return ""
    png, (width, height) = pictures[name]
    image = f'<img src="{data_uri("image/png", png)}" width="{width}" height="{height}" alt="{escape(caption)}">'
    scrolled = f'<div class="scroll wide" role="region" tabindex="0" aria-label="Picture">{image}</div>'
    return f"<figure>{scrolled}<figcaption>{escape(caption)}: {escape(name)}.png</figcaption></figure>\n"
