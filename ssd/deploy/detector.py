"""A detector in one call, from whatever has one, that also evaluates and exports itself."""

import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ssd.config import Config
from ssd.data.catalog import make_dataset
from ssd.data.datasets.find import find_layout
from ssd.data.datasets.folders import kind_of_split
from ssd.deploy.checks import measure_accuracy
from ssd.deploy.export import export_onnx, export_program
from ssd.deploy.runtimes import open_exported
from ssd.deploy.trained import load_trained
from ssd.evaluation import EvaluationResult
from ssd.inference.api import init_detector, read_source
from ssd.inference.notebook import picture_html, table_html
from ssd.inference.predictor import Predictor
from ssd.utils.errors import ExportError
from ssd.utils.image import read_image

_EXPORTED = (".onnx", ".pt2")


def load(source: Config | str | os.PathLike[str], device: str = "auto") -> "Detector":
    """Load a detector.

    Args:
        source: Folder of a run, checkpoint, name of ``ssd.models()``, URL, exported file (.onnx, .pt2), or a config,
            whose OUTPUT_DIR has the checkpoint. Errors are those of ``ssd.init_detector``.
        device: auto (cuda, else mps, else cpu), cpu, mps, cuda, cuda:1, ...; exported files run on the CPU.
    """
    if not isinstance(source, Config) and os.fspath(source).lower().endswith(_EXPORTED):
        return Detector(open_exported(os.path.expanduser(source)), None)
    return Detector(init_detector(source, device=device), source)


class Detector(Predictor):
    """Result of ``ssd.load``; see ``Predictor`` for detection."""

    def __init__(self, predictor: Predictor, source: Config | str | os.PathLike[str] | None):
        super().__init__(
            *(predictor.network, predictor.image_size, predictor.class_names),
            score_threshold=predictor.score_threshold,
            nms_threshold=predictor.nms_threshold,
        )
        self._source = source  # None = an exported file

    def evaluate(
        self, folder: str | os.PathLike[str], *, split: str | None = None, metric: str = "coco", batch_size: int = 8
    ) -> EvaluationResult:
        """Measure the average precision on a folder of annotated images, in any format that is read.

        ``split`` is a part of the folder; None = its test images, else its validation images, else all of it.
        ``metric`` is coco, voc or voc07.
        """
        layout = find_layout(Path(folder))
        kinds = {kind_of_split(name): name for name in layout.splits}
        chosen = layout.choose_split(split or kinds.get("test", kinds.get("val")))
        name = Path(folder).name if chosen is None else f"{Path(folder).name}_{chosen}"
        custom = {name: dict(layout.entries[chosen])}
        dataset = make_dataset(name, custom, is_train=False, class_names=self.class_names)
        return measure_accuracy(self, dataset, metric=metric, batch_size=batch_size)

    def export(self, path: str | os.PathLike[str], *, complete: bool = True) -> Path:
        """Write the detector as an ONNX file or a program of torch.export (.pt2); see ``export_onnx``.

        ``ssd export`` also compares the file with the detector, quantises it and times it.
        """
        if self._source is None:
            raise ExportError(f"{self!r} is an exported file already; load the checkpoint, and export that")
        if Path(path).suffix not in _EXPORTED:
            raise ExportError(f"{path} must end in .onnx or .pt2")
        cfg, checkpoint = read_source(self._source)
        trained = load_trained(cfg, checkpoint, self.class_names)
        write: Any = export_onnx if Path(path).suffix == ".onnx" else export_program
        return Path(write(trained.model, path, trained.metadata, complete=complete))


@dataclass(frozen=True, repr=False)
class Run:
    """Result of ``ssd.fit`` and ``ssd.train``; a notebook shows its metrics and learning curves."""

    folder: Path
    plan: str = ""  # as ``ssd.fit`` printed it
    status: int = 0  # exit status of the command; not 0 = the training was interrupted
    checkpoint: Path | None = None  # the best one; None = not trained
    reports: tuple[Path, ...] = ()
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)  # by dataset and name

    @property
    def detector(self) -> Detector:
        """The best detector of the run."""
        return load(self.folder if self.checkpoint is None else self.checkpoint)

    def __repr__(self) -> str:
        figures = [
            f"{name}: {next(iter(values))} {next(iter(values.values())):.3f}" for name, values in self.metrics.items()
        ]
        return f"<Run in {self.folder}; {', '.join(figures) or 'not evaluated'}>"

    def _repr_html_(self) -> str:
        rows = [(name, key, f"{value:.3f}") for name, values in self.metrics.items() for key, value in values.items()]
        curves = self.folder / "learning_curves.png"
        picture = picture_html(read_image(curves), "learning curves") if curves.is_file() else ""
        files = ", ".join(map(str, (*filter(None, [self.checkpoint]), *self.reports)))
        return f"{picture}{table_html(('dataset', 'metric', 'value'), rows)}<p>{escape(files)}</p>"
