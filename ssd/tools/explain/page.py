"""An explanation as files: its pictures, and one HTML page with all of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ssd.tools.explain.matching import Matching
from ssd.tools.report.elements import Cell, Column, code, data_uri, escape, table
from ssd.tools.report.page import Section, make_page
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import write_text
from ssd.utils.image import write_image
from ssd.visualization import draw_detections

if TYPE_CHECKING:
    from ssd.tools.explain.explain import Explanation

_DPI = 110
_MAX_CANDIDATES = 50  # rows of the table
_MAX_NEGATIVES = 500
_SHOWN = 0.5  # score of a detection in the overview
_SIDE = 720  # pixels of the overview
_TITLES = {  # and captions, by picture
    "priors": ("Priors", "The priors of one cell of each level. Every cell has them, and the network judges each."),
    "matches": ("Matches", "Objects, and the priors that are trained to find them."),
    "negatives": ("Hard negatives", "Priors that are trained as background: those that look most like an object."),
    "detection": ("Candidates", "How one detection came about: its prior, scores, and suppressed candidates."),
}


def write_files(explanation: "Explanation", folder: Path, detection: int) -> list[Path]:
    """Write explain.html and the pictures; see ``Explanation.write``."""
    figures, paths = explanation.draw(detection), [folder / "explain.html"]
    matching, sections = explanation.matching, []
    tables = {"negatives": _negatives_table(explanation, matching)} if matching is not None else {}
    tables["detection"] = _candidates_table(explanation)
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        if len(explanation.candidates.detections):
            paths.append(folder / "detections.png")
            write_image(draw_overview(explanation), paths[-1])
            sections.append(Section("detections", "Detections", _figure(paths[-1], tell_story(explanation, detection))))
        for name, (title, caption) in _TITLES.items():
            content = tables.get(name, "")
            if name in figures:
                paths.append(folder / f"{name}.png")
                figures[name].savefig(paths[-1], dpi=_DPI)
                content = _figure(paths[-1], caption) + content
            if content:
                sections.append(Section(name, title, content))
        summary, _, numbers = explanation.to_text(detection).partition("\n")
        sections.append(Section("numbers", "Numbers", code(numbers), is_folded=True))
        write_text(paths[0], make_page(f"How {explanation.name} is seen", summary, "", sections))
    return paths


def draw_overview(explanation: "Explanation") -> np.ndarray:
    """Draw the detections that score above 0.5, or the best, on the image in its own shape, 720 pixels on a side."""
    found = explanation.candidates
    rows = found.detections[: max(1, int((found.scores[found.detections] > _SHOWN).sum()))]
    size = np.array(explanation.orig_size) * _SIDE / max(explanation.orig_size)
    width, height = (max(round(side), 1) for side in size.tolist())
    image = np.asarray(Image.fromarray(explanation.image).resize((width, height)))
    boxes = found.boxes[rows].numpy() * np.tile([width, height], 2) / np.tile(explanation.image.shape[1::-1], 2)
    return draw_detections(
        image, boxes, found.labels[rows].numpy(), found.scores[rows].numpy(), explanation.class_names
    )


def tell_story(explanation: "Explanation", detection: int) -> str:
    """Say what is found, and how one detection, from 0, the best, came about."""
    found, row = explanation.candidates, explanation.find_detection(detection)
    names = [explanation.class_names[label] for label in found.labels[found.detections].tolist()]
    num_shown = int((found.scores[found.detections] > _SHOWN).sum())
    shown = ", ".join(names[:num_shown]) or f"nothing; the best guess is {names[0]}"
    num = len(found.suppressed_by(row))
    dropped = f"{num} more said the same and {'was' if num == 1 else 'were'} dropped"
    return (
        f"Found with a score above {_SHOWN:.0%}: {shown}. The {explanation.class_names[int(found.labels[row])]} "
        f"({float(found.scores[row]):.0%}) comes from one of {len(explanation.priors):,} priors, boxes at fixed "
        f"places: the network judged that at {explanation.place(int(found.priors[row]))} to be of this class and "
        f"moved it onto the object; {dropped}. Below: where the priors are, which objects they learn in training, "
        "and where this detection comes from."
    )


def _figure(path: Path, text: str) -> str:
    image = f'<img src="{data_uri("image/png", path.read_bytes())}" alt="{escape(path.stem)}">'
    return f'<figure class="photo">{image}<figcaption>{escape(text)}</figcaption></figure>\n'


def _negatives_table(explanation: "Explanation", matching: Matching) -> str:
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
