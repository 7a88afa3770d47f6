"""Web page of `ssd predict --web`: detection in own images in a browser, without other machines."""

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssd.inference.detections import COLUMNS, Detections
from ssd.inference.predictor import Predictor
from ssd.utils.errors import ConfigError, SSDError, import_extra

logger = logging.getLogger(__name__)

_SECONDS_KEPT = 3600  # of uploaded images
_LAUNCH_OPTIONS: dict[str, Any] = {
    "share": False,
    "show_error": True,
    "ssr_mode": False,
    "footer_links": [],
    "max_file_size": "64mb",
    "prevent_thread_lock": True,
    "quiet": True,
}


def serve(
    predictor: Predictor, samples: Sequence[str] = (), *, score_threshold: float | None = None, host: str, port: int
) -> None:
    """Serve the page until Ctrl-C, with an initial threshold (None = that of the detector, over all classes).

    ``samples`` are image files to try with a click. The host 0.0.0.0 is visible to other machines too.
    """
    with tempfile.TemporaryDirectory(prefix="ssd-web-") as folder:
        threshold = float(np.ravel(predictor.score_threshold if score_threshold is None else score_threshold)[0])
        page, theme = make_page(predictor, samples, threshold, Path(folder))
        try:
            page.launch(server_name=host, server_port=port, theme=theme, **_LAUNCH_OPTIONS)
        except OSError as error:
            raise ConfigError(f"no page at {host}:{port}: {error}; choose another one with --port or --host") from error
        logger.info("Open http://%s:%d in a browser; Ctrl-C ends it", host, port)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def make_page(predictor: Predictor, samples: Sequence[str], score_threshold: float, folder: Path) -> tuple[Any, Any]:
    """Build the Gradio page and its theme; ``folder`` gets the files for download."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
    gr = import_extra("gradio", "web")
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])  # no downloads
    callbacks = Callbacks(gr, predictor, folder)
    names = list(predictor.class_names[1:])
    kept: dict[str, Any] = {"analytics_enabled": False, "delete_cache": (_SECONDS_KEPT, _SECONDS_KEPT)}
    with gr.Blocks(title=f"Detect {', '.join(names[:3])}", **kept) as page:
        gr.Markdown(describe(predictor), elem_id="about")
        state = gr.State(time_to_live=_SECONDS_KEPT)
        with gr.Row():
            with gr.Column(scale=1):
                kinds = ["upload", "webcam", "clipboard"]
                image = gr.Image(label="Image", type="filepath", sources=kinds, elem_id="image")
                # Gradio would decode the upload first, with errors for developers.
                image.preprocess = lambda upload: None if upload is None else upload.path
                if samples:
                    files = [[os.path.abspath(path)] for path in samples]
                    gr.Examples(files, [image], label="Samples", elem_id="samples")
                slider = gr.Slider(0, 1, score_threshold, step=0.01, label="Score threshold", elem_id="threshold")
                chosen = gr.Dropdown(names, multiselect=True, label="Classes", info="None: all", elem_id="classes")
            with gr.Column(scale=2):
                buttons = ["download", "fullscreen"]
                drawn = gr.Image(label="Detections", interactive=False, buttons=buttons, elem_id="drawn")
                summary = gr.Markdown(elem_id="summary")
                download = gr.DownloadButton("Download JSON", interactive=False, elem_id="download")
        with gr.Accordion("Coordinates", open=False):
            table = gr.Dataframe(headers=list(COLUMNS), label="Objects", interactive=False, elem_id="objects")
        outputs = [drawn, table, summary, download]
        image.change(callbacks.detect, [image, slider, chosen], [state, *outputs])
        for control in (slider, chosen):
            inputs = [state, slider, chosen]
            control.change(callbacks.show, inputs, outputs, show_progress="hidden", trigger_mode="always_last")
    return page, theme


def describe(predictor: Predictor) -> str:
    """Return title, model and classes of the page, as Markdown."""
    names, (height, width) = predictor.class_names[1:], predictor.image_size
    return (
        f"# Find {', '.join(names[:6])}{', ...' * (len(names) > 6)}\n\nA detector of {len(names)} "
        f"class{'es' * (len(names) != 1)}, {predictor.network!r}, {width} x {height} pixels. Drop a picture: it "
        "stays on this machine."
    )


class Callbacks:
    """Reactions of the page; ``gradio`` is the package, ``folder`` gets the files for download."""

    def __init__(self, gradio: Any, predictor: Predictor, folder: Path):
        self.gradio = gradio
        self.predictor = predictor
        self.folder = folder

    def detect(self, path: str | None, threshold: float, classes: list[str]) -> list[Any]:
        """Return all detections of a new image, without its folder, followed by the outputs of ``show``."""
        if path is None:
            return [None, *self.show(None, threshold, classes)]
        try:
            (found,) = self.predictor.predict(path, stream=True, score_threshold=0.0)
        except SSDError as error:
            message = str(error).replace(f"{Path(path).parent}{os.sep}", "")
            raise self.gradio.Error(message, duration=None, print_exception=False) from error
        found = replace(found, name=Path(path).name, path=None)
        return [found, *self.show(found, threshold, classes)]

    def show(self, found: Detections | None, threshold: float, classes: list[str]) -> list[Any]:
        """Return picture, rows of COLUMNS, summary and download button of the chosen detections; no classes = all."""
        if found is None:
            return [None, [], "", self.gradio.DownloadButton(value=None, interactive=False)]
        kept = found.filter(threshold, classes or None)
        width, height = found.orig_size
        summary = f"{len(kept)} object{'s' * (len(kept) != 1)} in {width} x {height} pixels"
        if len(kept) < len(found):
            summary += f"; {len(found) - len(kept)} more below the threshold or of other classes"
        file = Path(tempfile.mkdtemp(dir=self.folder)) / f"{Path(found.name).stem}.json"
        file.write_text(f"{kept.to_json()}\n")
        button = self.gradio.DownloadButton(value=str(file), interactive=True)
        return [kept.draw(), kept.rows(), summary, button]
