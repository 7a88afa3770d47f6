"""One JSON file with the detections of all images, written as they come."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from ssd.inference.detections import Detections
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import atomic_write


class JsonFile:
    """Writes a JSON object whose list "images" has an entry, and a line, an image: ``Detections.to_json``.

    The file appears under its name when the context ends; where it ends by an error, the old file stays. Memory does
    not grow with the number of images.

    Args:
        path: of the file; its folder must exist.
        class_names: index = label, background first.

    Attributes:
        failures: written as "failures": what went wrong, one text an image.
        is_complete: written as "complete": whether the source came to its end.
    """

    def __init__(self, path: Path, class_names: Sequence[str]):
        self.path = path
        self.class_names = list(class_names)
        self.failures: list[str] = []
        self.is_complete = True
        self._num_images = 0
        self._stack = ExitStack()

    def add(self, detections: Detections) -> None:
        """Append the entry of one image.

        Raises:
            OutputError: the file cannot be written.
        """
        self._write(",\n" if self._num_images else "\n", detections.to_json())
        self._num_images += 1

    def _write(self, *texts: str) -> None:
        with os_errors_as(OutputError, self.path):
            for text in texts:  # a file name that is no valid Unicode becomes an escape of JSON
                self._file.write(text.encode(errors="backslashreplace"))

    def __enter__(self) -> "JsonFile":
        with os_errors_as(OutputError, self.path):
            self._file = self._stack.enter_context(atomic_write(self.path))
        self._write(f'{{"class_names": {_dump(self.class_names)},\n"images": [')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with os_errors_as(OutputError, self.path), self._stack:
            self._write(f'\n],\n"failures": {_dump(self.failures)},\n"complete": {_dump(self.is_complete)}}}\n')


def _dump(value: list[str] | bool) -> str:
    return json.dumps(value, ensure_ascii=False)
