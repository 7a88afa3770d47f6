"""An explanation as files: its pictures, and one HTML page with all of them."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ssd.tools.report.elements import Cell, Column, code, data_uri, escape, paragraph, table
from ssd.tools.report.page import Section, make_page
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import atomic_write, write_text

if TYPE_CHECKING:
    from ssd.tools.explain.explain import Explanation

_DPI = 110
_MAX_CANDIDATES = 50  # rows of the table
_MAX_NEGATIVES = 500


def write_files(explanation: "Explanation", folder: Path, detection: int) -> list[Path]:
    """Write explain.html and the pictures; see ``Explanation.write``."""
    files = {}
    for name, figure in explanation.draw(detection).items():
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=_DPI)
        files[folder / f"{name}.png"] = content.getvalue()
    page = folder / "explain.html"
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(page, _make_page(explanation, {path.stem: png for path, png in files.items()}, detection))
        for path, png in files.items():
            with atomic_write(path) as file:
                file.write(png)
    return [page, *files]


def _make_page(explanation: "Explanation", pictures: dict[str, bytes], detection: int) -> str:
    text = (
        "Each level is a grid of cells, and each cell has a few priors around its centre: a small and a large square "
        "(solid), then a wide and a tall one for each ratio (dashed, dotted). Those of one cell are drawn."
    )
    contents = {"priors": ("Priors", paragraph(text))}
    if explanation.matching is not None:
        text = (
            "A prior learns the object that it overlaps most, if their IoU reaches the threshold "
            f"{explanation.matching.iou_threshold:g}. An object without such a prior gets the best one that is left, "
            "the forced match. All other priors learn background."
        )
        contents["matches"] = ("Matches", paragraph(text))
        contents["negatives"] = ("Hard negatives", _negatives_table(explanation))
    contents["detection"] = ("Candidates", _candidates_table(explanation))
    sections = []
    for name, (title, content) in contents.items():
        if name in pictures:
            image = f'<img src="{data_uri("image/png", pictures[name])}" alt="{escape(title)}">'
            scrolled = f'<div class="scroll wide" role="region" tabindex="0" aria-label="Picture">{image}</div>'
            content = f"<figure>{scrolled}</figure>\n{content}"
        sections.append(Section(name, title, content))
    summary, _, numbers = explanation.to_text(detection).partition("\n")
    return make_page(f"How {explanation.name} is seen", summary, code(numbers), sections)


def _negatives_table(explanation: "Explanation") -> str:
    matching = explanation.matching
    assert matching is not None
    rows: list[list[Cell]] = []
    for rank, prior in enumerate(matching.negatives.tolist(), start=1):
        score, label = explanation.class_scores[prior, 1:].max(dim=0)
        name, loss, iou = explanation.class_names[int(label) + 1], matching.cls_loss[prior], matching.iou[prior]
        rows.append([str(rank), str(explanation.place(prior)), float(loss), name, float(score), float(iou)])
    columns = [Column("rank"), Column("prior"), Column("loss", ".3f"), Column("mistaken for"), Column("score", ".3f")]
    columns.append(Column("IoU", ".3f", "with the object that it overlaps most"))
    return table("Background priors in the loss", columns, rows[:_MAX_NEGATIVES])


def _candidates_table(explanation: "Explanation") -> str:
    found = explanation.candidates
    rows: list[list[Cell]] = []
    for row, (prior, label) in enumerate(zip(found.priors.tolist(), found.labels.tolist(), strict=True)):
        suppressor = int(found.suppressors[row])
        fate = "beyond the limits" if suppressor < 0 else f"suppressed by {suppressor}"
        fate = "detection" if found.is_kept[row] else fate
        name, place = explanation.class_names[label], str(explanation.place(prior))
        rows.append([str(row), place, name, float(found.scores[row]), fate])
    columns = [Column("candidate"), Column("prior"), Column("class"), Column("score", ".3f"), Column("fate")]
    return table("Best candidates", columns, rows[:_MAX_CANDIDATES])
