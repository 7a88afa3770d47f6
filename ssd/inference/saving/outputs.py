"""All that a run of `ssd demo` writes."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from ssd.inference.detections import Detections
from ssd.inference.saving.drawn import DrawnFolder
from ssd.inference.saving.json_file import JsonFile
from ssd.inference.saving.txt import TxtFolder


class Outputs:
    """Writes what was found in each image to those places that are named. Entered as a context, which completes them.

    Args:
        class_names: index = label, background first.
        drawn: folder for annotated images and videos, see ``DrawnFolder``.
        json: see ``JsonFile``.
        txt: folder, see ``TxtFolder``.

    Attributes:
        failures: what went wrong, one text an image; ends up in the JSON file.
        is_complete: whether the source came to its end, likewise.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        drawn: Path | None = None,
        json: Path | None = None,
        txt: Path | None = None,
    ):
        self.failures: list[str] = []
        self.is_complete = True
        self._json = JsonFile(json, class_names) if json else None
        self._txt = TxtFolder(txt, class_names) if txt else None
        self._drawn = DrawnFolder(drawn) if drawn else None
        self._stack = ExitStack()

    def add(self, detections: Detections) -> None:
        """Write what was found in one image.

        Raises:
            ImageError: a file of this image cannot be written.
            OutputError: a file of many images cannot be written.
        """
        for output in (self._json, self._txt, self._drawn):
            if output is not None:
                output.add(detections)

    def __enter__(self) -> "Outputs":
        with ExitStack() as stack:
            for output in (self._json, self._drawn):
                if output is not None:
                    stack.enter_context(output)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._json is not None:
            self._json.failures, self._json.is_complete = self.failures, self.is_complete
        self._stack.__exit__(kind, error, trace)
