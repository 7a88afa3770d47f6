"""Annotated images and videos."""

from pathlib import Path
from types import TracebackType

from ssd.inference.detections import Detections
from ssd.inference.saving.names import OutputNames
from ssd.inference.sources import VideoInfo
from ssd.inference.video_writer import VideoWriter
from ssd.utils.errors import ImageError, OutputError, SSDError, os_errors_as
from ssd.utils.image import write_image


class DrawnFolder:
    """Draws detections into the images they were found in; the frames of a video become one video.

    A video is complete when the next one begins or the context ends, by an error or Ctrl-C too.

    Args:
        folder: gets the files; created now.

    Raises:
        OutputError: the folder cannot be created.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        with os_errors_as(OutputError, folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._names = OutputNames()
        self._video: VideoInfo | None = None
        self._last_index = -1
        self._writer: VideoWriter | None = None

    def add(self, detections: Detections) -> None:
        """Draw all detections into one image, or into the next frame of a video, and write it.

        Raises:
            ImageError: the image cannot be written, or would replace its source.
            OutputError: the same of a video.
        """
        drawn = detections.draw(score_threshold=0.0)
        if detections.video is not None:
            self._writer_of(detections.video, detections.index).write(drawn)
            return
        path = self.folder / self._names.picture(detections)
        _refuse_to_replace(path, detections.path, ImageError)
        with os_errors_as(ImageError, path):
            path.parent.mkdir(exist_ok=True)
        write_image(drawn, path)

    def _writer_of(self, video: VideoInfo, index: int) -> VideoWriter:
        """The writer of a video; a new one for a new video, or for the same one once more."""
        is_new = video != self._video or index <= self._last_index
        if self._writer is None or is_new:
            self._close()
            path = self.folder / self._names.video(video)
            _refuse_to_replace(path, Path(video.name), OutputError)
            self._writer, self._video = VideoWriter(path, video.frame_rate), video
        self._last_index = index
        return self._writer

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __enter__(self) -> "DrawnFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def _refuse_to_replace(path: Path, source: Path | None, kind: type[SSDError]) -> None:
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise kind(f"{path} is the source itself; name another --output_dir")
