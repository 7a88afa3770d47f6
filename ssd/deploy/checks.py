"""The checks of exported files: parity with the model, average precision and latency. Each adds to the report."""

import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ssd.data.datasets import DetectionDataset
from ssd.data.samples import resize_image
from ssd.deploy.export_report import Accuracy, AgreementCheck, ExportReport
from ssd.deploy.latency import measure_latency
from ssd.deploy.parity import Cut, ParityCheck, agreement, compare_all
from ssd.deploy.runtimes import MetadataPredictor, exported_networks
from ssd.deploy.trained import PlainNetwork, Trained, make_candidates
from ssd.evaluation import EvaluationResult, evaluate
from ssd.inference.predictor import Network, Predictor
from ssd.inference.sources import Frame, PendingFrame, Source
from ssd.structures import Container
from ssd.utils.device import available_cores
from ssd.utils.errors import ImageError, MissingPackageError

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 5)  # of the comparison


class FrameSource(list[PendingFrame]):
    """Source of the given frames."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self)


def dataset_images(datasets: Mapping[str, DetectionDataset]) -> FrameSource:
    """Return the source of the images of datasets, by the names of the datasets."""
    places = [(f"{name}, image {row}", one, row) for name, one in datasets.items() for row in range(len(one))]
    return FrameSource([PendingFrame(name, partial(_read, name, one, row)) for name, one, row in places])


def _read(name: str, dataset: DetectionDataset, row: int) -> Frame:
    return Frame(dataset[row][0], name, index=row)


def first_images(source: Source, count: int) -> list[Frame]:
    """Read the first images of a source; raise ImageError if one cannot be read."""
    return [pending.read() for pending, _ in zip(source, range(count), strict=False)]


def choose_images(source: Source, count: int, seed: int) -> Iterator[np.ndarray]:
    """Read ``count`` random images of a source one by one, or all if it has fewer, in order."""
    if source.num_frames is None:
        raise ImageError("--images: int8 needs a folder or a pattern of image files")
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(source.num_frames, min(count, source.num_frames), replace=False).tolist())
    return (pending.read().image for index, pending in enumerate(source) if index in chosen)


def check_parity(trained: Trained, paths: Sequence[Path], frames: Sequence[Frame], report: ExportReport) -> None:
    """Compare the detections of exported files in ``frames``, one or more, with those of the model.

    Those of the first file must be the same, those of its int8 versions need only agree. A runtime that is not
    installed is a note of the report.
    """
    metadata = trained.metadata
    images = FrameSource([PendingFrame(frame.name, partial(replace, frame)) for frame in frames])
    cut = Cut(metadata.score_threshold, metadata.max_per_image if metadata.max_per_image >= 0 else sys.maxsize)
    expected = MetadataPredictor(PlainNetwork(trained), metadata).predict(images, batch_size=1, score_threshold=0.0)
    for path in paths:
        for name, make in exported_networks(path).items():
            try:
                predictor = MetadataPredictor(make(None), metadata)
            except MissingPackageError as error:
                report.notes.append(f"{name}: {error}")
                continue
            if path != paths[0]:
                value = agreement(expected, predictor.predict(images, batch_size=1, score_threshold=0.0))
                report.agreement.append(AgreementCheck(name, len(frames), value))
                continue
            for batch_size in _BATCH_SIZES:
                found = predictor.predict(images, batch_size=batch_size, score_threshold=0.0)
                report.parity.append(ParityCheck(name, batch_size, compare_all(expected, found, cut)))


def check_accuracy(
    trained: Trained,
    paths: Sequence[Path],
    datasets: Mapping[str, DetectionDataset],
    report: ExportReport,
    *,
    metric: str,
    batch_size: int,
) -> None:
    """Measure the average precision of the model and of each exported file, in ONNX Runtime or PyTorch."""
    networks: dict[str, Network] = {"PyTorch": PlainNetwork(trained)}
    networks |= {path.name: next(iter(exported_networks(path).values()))(None) for path in paths}
    for name, network in networks.items():
        logger.info("Evaluating %s", name)
        predictor = MetadataPredictor(network, trained.metadata)
        for dataset_name, dataset in datasets.items():
            result = measure_accuracy(predictor, dataset, metric=metric, batch_size=batch_size)
            report.accuracy.append(Accuracy(name, dataset_name, result.metric, result.main))


def measure_accuracy(
    predictor: Predictor, dataset: DetectionDataset, *, metric: str, batch_size: int
) -> EvaluationResult:
    """Evaluate a detector on a dataset."""
    results = predictor.predict(dataset_images({"": dataset}), stream=True, batch_size=batch_size, score_threshold=0.0)
    found = [Container(boxes=one.boxes, labels=one.labels, scores=one.scores) for one in results]
    with tempfile.TemporaryDirectory() as folder:  # for the files of an evaluation
        return evaluate(dataset, found, folder, metric=metric)


def check_latency(trained: Trained, paths: Sequence[Path], frames: Sequence[Frame], report: ExportReport) -> None:
    """Time the ways to run the detector, on one thread and on all, in the first of ``frames`` or in noise."""
    size = trained.metadata.image_size
    if frames:
        pixels = resize_image(frames[0].image, size)
    else:
        report.notes.append("latency on a real image: these are times for noise, which has few objects")
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, 3, S_h, S_w)
    report.latency += measure_latency(make_candidates(trained, paths), image, sorted({1, available_cores()}))
