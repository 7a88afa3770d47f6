"""The page of `ssd demo --web`: detect in one's own images in a browser. It needs no machine but this one."""

import logging
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.utils.errors import ConfigError, SSDError, import_extra

logger = logging.getLogger(__name__)

COLUMNS = ("class", "score", "x1", "y1", "x2", "y2")
_SECONDS_KEPT = 3600  # of uploaded images
_MAX_UPLOAD = "64mb"


@dataclass(frozen=True)
class Selection:
    """What the page shows of the detections of one image.

    Attributes:
        drawn: the image with boxes, RGB uint8 (H, W, 3).
        rows: an object each, see COLUMNS; boxes in pixels of the image.
        summary: a sentence.
        json: the same objects as JSON, see ``Detections.to_json``.
    """

    drawn: np.ndarray
    rows: list[list[str | float]]
    summary: str
    json: str


def find(predictor: Predictor, path: str | os.PathLike[str]) -> Detections:
    """Return all that is found in an image file, with its pixels and without its folder.

    Raises:
        ImageError: it cannot be read.
    """
    found = next(iter(predictor.predict(path, stream=True, score_threshold=0.0)))
    return replace(found, name=Path(path).name, path=None)


def select(found: Detections, score_threshold: float, classes: Sequence[str]) -> Selection:
    """Return what scores above a threshold; ``classes`` are names, none = all."""
    kept = found.filter(score_threshold, classes or None)
    rows: list[list[str | float]] = [
        [name, round(score, 3), *(round(side, 1) for side in box)]
        for name, score, box in zip(kept.names, kept.scores.tolist(), kept.boxes.tolist(), strict=True)
    ]
    others = len(found) - len(kept)
    summary = f"{len(kept)} object{'' if len(kept) == 1 else 's'} in {found.orig_size[0]} x {found.orig_size[1]} pixels"
    summary += f"; {others} more below the threshold or of other classes" if others else ""
    return Selection(kept.draw(score_threshold=-1), rows, summary, kept.to_json())


def serve(predictor: Predictor, *, score_threshold: float, host: str, port: int) -> None:
    """Show the page until Ctrl-C.

    Args:
        predictor: what detects; asked for one image at a time, however many people look.
        score_threshold: with which the page begins.
        host: address to listen on; 127.0.0.1 is seen by this machine only, 0.0.0.0 by its whole network.
        port: to listen on.

    Raises:
        MissingPackageError: Gradio is not installed.
        ConfigError: the address or the port cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="ssd-web-") as folder:
        page, theme = make_page(predictor, score_threshold, Path(folder))
        options: dict[str, Any] = {
            "share": False,
            "show_error": True,
            "ssr_mode": False,
            "footer_links": [],
            "max_file_size": _MAX_UPLOAD,
        }
        try:
            page.launch(
                server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, theme=theme, **options
            )
        except OSError as error:
            raise ConfigError(f"no page at {host}:{port}: {error}; choose another one with --port or --host") from error
        logger.info("Open http://%s:%d in a browser; Ctrl-C ends it", host, port)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def make_page(predictor: Predictor, score_threshold: float, folder: Path) -> tuple[Any, Any]:
    """Build the page and its theme; ``folder`` holds the files that are offered for download.

    Raises:
        MissingPackageError: Gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
    gr = import_extra("gradio", "web")
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # fetched from nowhere
    theme = gr.themes.Default(**fonts)

    callbacks = Callbacks(gr, predictor, folder)
    with gr.Blocks(title="SSD", analytics_enabled=False, delete_cache=(_SECONDS_KEPT, _SECONDS_KEPT)) as page:
        state = gr.State(time_to_live=_SECONDS_KEPT)
        with gr.Row():
            with gr.Column():
                image = gr.Image(
                    label="Image", type="filepath", sources=["upload", "webcam", "clipboard"], elem_id="image"
                )
                image.preprocess = upload_path
                slider = gr.Slider(0, 1, score_threshold, step=0.01, label="Score threshold", elem_id="threshold")
                names = list(predictor.class_names[1:])
                chosen = gr.Dropdown(names, multiselect=True, label="Classes", info="None: all", elem_id="classes")
            with gr.Column():
                drawn = gr.Image(
                    label="Detections", interactive=False, buttons=["download", "fullscreen"], elem_id="drawn"
                )
                summary = gr.Markdown(elem_id="summary")
                download = gr.DownloadButton("Download JSON", interactive=False, elem_id="download")
        table = gr.Dataframe(headers=list(COLUMNS), label="Objects", interactive=False, elem_id="objects")
        outputs = [drawn, table, summary, download]
        image.change(callbacks.detect, [image, slider, chosen], [state, *outputs])
        for control in (slider, chosen):
            inputs = [state, slider, chosen]
            control.change(callbacks.show, inputs, outputs, show_progress="hidden", trigger_mode="always_last")
    return page, theme


class Callbacks:
    """What the page does when something on it changes.

    Args:
        gradio: the package.
        predictor: what detects.
        folder: for the files that are offered for download.
    """

    def __init__(self, gradio: Any, predictor: Predictor, folder: Path):
        self.gradio = gradio
        self.predictor = predictor
        self.folder = folder

    def detect(self, path: str | None, threshold: float, classes: list[str]) -> list[Any]:
        """Return all that was found in a new image, and what ``show`` returns of it."""
        if path is None:
            return [None, *self.show(None, threshold, classes)]
        try:
            found = find(self.predictor, path)
        except SSDError as error:
            raise self.gradio.Error(explain(error, path), duration=None, print_exception=False) from error
        return [found, *self.show(found, threshold, classes)]

    def show(self, found: Detections | None, threshold: float, classes: list[str]) -> list[Any]:
        """Return picture, rows, summary and button for what is chosen of the detections."""
        if found is None:
            return [None, [], "", self.gradio.DownloadButton(value=None, interactive=False)]
        shown = select(found, threshold, classes)
        file = Path(tempfile.mkdtemp(dir=self.folder)) / f"{Path(found.name).stem}.json"
        file.write_text(f"{shown.json}\n")
        button = self.gradio.DownloadButton(value=str(file), interactive=True)
        return [shown.drawn, shown.rows, shown.summary, button]


def upload_path(payload: Any) -> str | None:
    """Return the file of an upload as it is; Gradio would decode it first, and its errors are for developers."""
    return None if payload is None else payload.path


def explain(error: SSDError, path: str) -> str:
    """Return the message without the folder that the upload lies in."""
    return re.sub(re.escape(f"{Path(path).parent}{os.sep}"), "", str(error))
