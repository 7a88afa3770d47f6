"""Output files of `ssd predict`: annotated images and videos, text files, one JSON file."""

import glob
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ssd.inference.detection_formats import to_yolo
from ssd.inference.detections import Detections
from ssd.inference.output_names import OutputNames
from ssd.inference.sources import VideoInfo
from ssd.inference.video_writer import VideoWriter
from ssd.utils.errors import ImageError, OutputError, SSDError, os_errors_as
from ssd.utils.files import atomic_write, write_text
from ssd.utils.image import write_image


class Outputs:
    """Writes the detections of each image. A context, which completes the files when it ends.

    ``drawn`` is the folder of annotated images and videos, ``json`` a file with all detections, which an error in the
    context leaves unchanged, ``txt`` the folder of a text file per image or frame, see ``to_yolo``. None = not written.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        drawn: Path | None = None,
        json: Path | None = None,
        txt: Path | None = None,
    ):
        self.class_names = class_names
        self.failures: list[str] = []  # an error per failed image, for the JSON file
        self.is_complete = True  # whether the source came to its end, for the JSON file
        self._json = json
        self._separator = "\n"
        self._txt = txt
        self._txt_names = OutputNames(reserved="classes")
        self._drawn = _DrawnFolder(drawn) if drawn else None
        self._stack = ExitStack()
        if txt is not None:
            with os_errors_as(OutputError, txt):
                txt.mkdir(parents=True, exist_ok=True)
                text = "".join(f"{name}\n" for name in class_names[1:])
                write_text(txt / "classes.txt", text, flush=False)

    def add(self, detections: Detections) -> None:
        """Write the detections of one image; raise ImageError for its own files, OutputError for those of several."""
        if self._json is not None:
            self._write_json(self._separator + detections.to_json())
            self._separator = ",\n"
        if self._txt is not None:
            path = self._txt / self._txt_names.text(detections)
            with os_errors_as(ImageError, path):
                path.parent.mkdir(exist_ok=True)
                write_text(path, to_yolo(detections), flush=False)
        if self._drawn is not None:
            self._drawn.add(detections)

    def __enter__(self) -> "Outputs":
        with ExitStack() as stack:
            if self._json is not None:
                with os_errors_as(OutputError, self._json):
                    self._file = stack.enter_context(atomic_write(self._json))
                self._write_json(f'{{"class_names": {_dump(list(self.class_names))},\n"images": [')
            if self._drawn is not None:
                stack.callback(self._drawn.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None or self._json is None:
            self._stack.__exit__(*error)
            return
        with os_errors_as(OutputError, self._json), self._stack:
            end = f'"failures": {_dump(self.failures)},\n"complete": {_dump(self.is_complete)}'
            self._write_json(f"\n],\n{end}}}\n")

    def _write_json(self, text: str) -> None:
        assert self._json is not None
        with os_errors_as(OutputError, self._json):
            self._file.write(text.encode(errors="backslashreplace"))  # a file name may be invalid Unicode


def _dump(value: list[str] | bool) -> str:
    return json.dumps(value, ensure_ascii=False)


class _DrawnFolder:
    """Annotated images; the frames of a video become one video, complete when the next one begins or at ``close``."""

    def __init__(self, folder: Path):
        with os_errors_as(OutputError, folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._names = OutputNames()
        self._video: VideoInfo | None = None
        self._writer: VideoWriter | None = None

    def add(self, detections: Detections) -> None:
        drawn = detections.draw()
        if detections.video is not None:
            self._writer_of(detections.video).write(drawn, detections.time)
            return
        path = self._folder / self._names.picture(detections)
        _refuse_to_replace(path, detections.path, ImageError)
        with os_errors_as(ImageError, path):
            path.parent.mkdir(exist_ok=True)
        write_image(drawn, path)

    def _writer_of(self, video: VideoInfo) -> VideoWriter:
        if self._writer is None or video != self._video:
            self.close()
            path = self._folder / self._names.video(video)
            _refuse_to_replace(path, Path(video.name), OutputError)
            self._writer, self._video = VideoWriter(path, video.frame_rate), video
        return self._writer

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _refuse_to_replace(path: Path, source: Path | None, kind: type[SSDError]) -> None:
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise kind(f"{path} is the source itself; choose another --output")


def refuse_source_folders(outputs: Mapping[str, Path | None], sources: Sequence[str]) -> None:
    """Raise OutputError if an output folder, by its option, holds sources: files, folders or matches of patterns."""
    for source in sources:
        pattern = glob.escape(source) if os.path.isfile(source) else source
        parents = {os.path.dirname(match) for match in glob.iglob(pattern, recursive=True)}
        resolved = {Path(place).resolve() for place in ([source] if os.path.isdir(source) else parents)}
        for option, folder in outputs.items():
            if folder and folder.resolve() in resolved:
                raise OutputError(f"{option} {folder} is the folder of the images themselves; choose another one")
