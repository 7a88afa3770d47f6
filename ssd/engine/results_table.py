"""OUTPUT_DIR/results.csv: what was logged and measured, one row an iteration."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)

_KEY = "iteration"


class ResultsTable:
    """A table that grows by a row at each report, and is whole whenever the process may end.

    What is measured at an iteration that was logged goes into its row. A new column rewrites the file. Where the disk
    takes no more, that is said once and the training goes on.

    Args:
        path: of the file. One that is there is continued: rows beyond ``start_iteration``, and what a killed process
            left of a row, are dropped.
        start_iteration: completed iterations.

    Attributes:
        columns: names, the first being "iteration".
        rows: the cells that are not empty, by column, as text.
    """

    def __init__(self, path: Path, start_iteration: int = 0):
        self.path = path
        columns, rows = _read(path)
        self.rows = [row for row in rows if int(row[_KEY]) <= start_iteration]
        self.columns = columns if self.rows else [_KEY]
        self._last_row = 0  # where it begins in the file, in bytes
        self._is_writable = True
        if path.exists():
            self._rewrite()

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add what belongs to an iteration, not before the last one."""
        cells = {name: repr(value if isinstance(value, int) else float(value)) for name, value in values.items()}
        new_columns = [name for name in cells if name not in self.columns]
        is_new = not self.rows or int(self.rows[-1][_KEY]) != iteration
        if is_new:
            self.rows.append({_KEY: str(iteration)})
        self.rows[-1].update(cells)
        self.columns += new_columns
        if new_columns:
            self._rewrite()
        else:
            self._write_last_row(is_new)

    def _rewrite(self) -> None:
        lines = [_line(self.columns), *(self._line_of(row) for row in self.rows)]
        try:
            with atomic_write(self.path) as file:
                file.writelines(lines)
        except OSError as error:
            self._give_up(error)
        self._last_row = sum(map(len, lines[:-1]))

    def _write_last_row(self, is_new: bool) -> None:
        line = self._line_of(self.rows[-1])
        try:
            if self._is_writable:
                with open(self.path, "r+b") as file:  # over the last row, which only grows
                    self._last_row = file.seek(0, io.SEEK_END) if is_new else file.seek(self._last_row)
                    file.write(line)
                    file.truncate()
        except OSError as error:
            self._give_up(error)

    def _line_of(self, row: Mapping[str, str]) -> bytes:
        return _line([row.get(name, "") for name in self.columns])

    def _give_up(self, error: OSError) -> None:
        if self._is_writable:
            logger.warning("%s cannot be written: %s; the training goes on", self.path, error.strerror or error)
        self._is_writable = False


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and whole rows of a file; of none, or of one that is no such table, nothing."""
    if not path.exists():
        return [_KEY], []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    if not lines or lines[0][:1] != [_KEY]:
        if text:
            logger.warning("%s is no table of results; a new one takes its place", path)
        return [_KEY], []
    columns = lines[0]
    whole = [cells for cells in lines[1:] if len(cells) == len(columns) and cells[0].isdecimal()]
    return columns, [{name: cell for name, cell in zip(columns, cells, strict=True) if cell} for cells in whole]
