"""Results of a training: results.csv, and the words at its end."""

import csv
import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from ssd.utils.files import write_text
from ssd.utils.logger import describe_seconds

logger = logging.getLogger(__name__)

_KEY = "iteration"


class ResultsTable:
    """A table that is written at each change; a failure to write is one warning.

    An existing file is continued, without rows after ``start_iteration`` and without a last row that was cut off.
    """

    def __init__(self, path: Path, start_iteration: int = 0):
        self.path = path
        columns, rows = _read(path)
        # Text of the cells that are not empty, by column; the first is "iteration".
        self.rows = [row for row in rows if int(row[_KEY]) <= start_iteration]
        self.columns = columns if self.rows else [_KEY]
        self._is_written = self._has_warned = False
        if path.exists():
            self._write(self.rows, append=False)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add values to the row of an iteration, which is the last one or new."""
        is_new = not self.rows or int(self.rows[-1][_KEY]) != iteration
        if is_new:
            self.rows.append({_KEY: str(iteration)})
        cells = {name: repr(value if isinstance(value, int) else float(value)) for name, value in values.items()}
        self.rows[-1].update(cells)
        new_columns = [name for name in cells if name not in self.columns]
        self.columns += new_columns
        append = is_new and not new_columns and self._is_written
        self._write(self.rows[-1:] if append else self.rows, append=append)

    def _write(self, rows: list[dict[str, str]], *, append: bool) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        if not append:
            writer.writeheader()
        writer.writerows(rows)
        try:
            if append:
                with open(self.path, "r+", encoding="utf-8", newline="") as file:  # unlike "a", of an existing file
                    file.seek(0, os.SEEK_END)
                    file.write(text.getvalue())
            else:
                write_text(self.path, text.getvalue())
            self._is_written = True
        except OSError as error:
            if not self._has_warned:
                logger.warning("%s cannot be written: %s; the training continues", self.path, error.strerror or error)
            self._is_written, self._has_warned = False, True


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and complete rows of a file; none of a missing file or another kind of file."""
    if not path.exists():
        return [_KEY], []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    if not lines or lines[0][:1] != [_KEY]:
        if text:
            logger.warning("%s is not a table of results, and is replaced", path)
        return [_KEY], []
    columns = lines[0]
    rows = [cells for cells in lines[1:] if len(cells) == len(columns) and cells[0].isdecimal()]
    return columns, [{name: cell for name, cell in zip(columns, cells, strict=True) if cell} for cells in rows]


def describe_result(folder: Path, seconds: float) -> str:
    """Return time, metrics, files and next commands of a finished training as text."""
    lines = [f"Done in {describe_seconds(seconds)}"]
    for path in sorted(folder.glob("inference/*/metrics.json")):
        name, value = next(iter(json.loads(path.read_text(encoding="utf-8"))["values"].items()))
        lines.append(f"{path.parent.name}: {name} {'nan' if value is None else format(value, '.3f')}")
    names = ("model_best.pth", "model_final.pth", "inference", "learning_curves.png", "config.yaml", "log.txt")
    lines.append(f"Written to {folder}: {', '.join(name for name in names if (folder / name).exists())}")
    lines += [f"Next: ssd test {folder}", f"      ssd predict {folder} FOLDER", f"      ssd export {folder}"]
    return "\n".join(lines)
