"""The checks that `ssd export` makes of the files it wrote. Each adds to the report."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssd.data.datasets import DetectionDataset
from ssd.data.samples import resize_image
from ssd.deploy.accuracy import measure_accuracy
from ssd.deploy.dataset_images import ReadImages
from ssd.deploy.latency import measure_latency
from ssd.deploy.metadata import Metadata
from ssd.deploy.parity import Cut, agreement, compare_all
from ssd.deploy.report import AgreementCheck, ExportReport, ParityCheck
from ssd.deploy.runtimes import PlainNetwork, as_predictor, exported_networks, make_candidates
from ssd.deploy.trained import Trained
from ssd.inference.predictor import Network
from ssd.inference.sources import Frame
from ssd.utils.errors import MissingPackageError
from ssd.utils.machine import available_cores

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 5)  # of the comparison


def check_parity(trained: Trained, paths: Sequence[Path], frames: Sequence[Frame], report: ExportReport) -> None:
    """Compare what the exported detectors find with what the model finds.

    Args:
        trained: the model.
        paths: the exported file, which must find the same, and int8 versions, which need only agree.
        frames: images, at least one.
        report: gets the results, and a note on each runtime that is not installed.
    """
    images, metadata = ReadImages(frames), trained.metadata
    cut = Cut(metadata.score_threshold, metadata.max_per_image if metadata.max_per_image >= 0 else sys.maxsize)
    reference = PlainNetwork(trained.model, trained.batch_transform)
    expected = as_predictor(reference, metadata).predict(images, batch_size=1)
    for path in paths:
        for name, make in exported_networks(path, metadata).items():
            try:
                predictor = as_predictor(make(None), metadata)
            except MissingPackageError as error:
                report.notes.append(f"{name}: {error}")
                continue
            if path != paths[0]:
                found = predictor.predict(images, batch_size=1)
                report.agreement.append(AgreementCheck(name, len(frames), agreement(expected, found)))
                continue
            for batch_size in _BATCH_SIZES:
                parity = compare_all(expected, predictor.predict(images, batch_size=batch_size), cut)
                report.parity.append(ParityCheck(name, batch_size, parity))


def check_accuracy(
    trained: Trained,
    paths: Sequence[Path],
    datasets: Mapping[str, DetectionDataset],
    report: ExportReport,
    *,
    metric: str,
    batch_size: int,
) -> None:
    """Measure the average precision of the model and of each exported file.

    Args:
        trained: the model.
        paths: exported files; ONNX Runtime or PyTorch runs them.
        datasets: by name.
        report: gets the results.
        metric: TEST.METRIC.
        batch_size: images at a time.

    Raises:
        ConfigError: the metric does not fit a dataset.
        DatasetError: an image cannot be read.
        MissingPackageError: a file is ONNX, and onnxruntime is not installed.
    """
    networks: dict[str, Network] = {"PyTorch": PlainNetwork(trained.model, trained.batch_transform)}
    for path in paths:
        make = next(iter(exported_networks(path, trained.metadata).values()))
        networks[path.name] = make(None)
    for name, network in networks.items():
        logger.info("Evaluating %s", name)
        predictor = as_predictor(network, trained.metadata)
        report.accuracy += measure_accuracy(name, predictor, datasets, metric=metric, batch_size=batch_size)


def check_latency(trained: Trained, paths: Sequence[Path], frames: Sequence[Frame], report: ExportReport) -> None:
    """Time each way to run the detector, on one thread and on all.

    Args:
        trained: the model.
        paths: exported files.
        frames: the first is what they detect in; without any it is noise, and a note says so.
        report: gets the results.
    """
    if not frames:
        report.notes.append("latency on a real image: these are times for noise, in which little may be found")
    candidates = make_candidates(trained.model, trained.batch_transform, trained.metadata, paths)
    image = _one_image(trained.metadata, frames)
    report.latency += measure_latency(candidates, image, sorted({1, available_cores()}))


def _one_image(metadata: Metadata, frames: Sequence[Frame]) -> Tensor:
    """The first image, or noise, uint8 (1, 3, S_h, S_w)."""
    if frames:
        pixels = resize_image(frames[0].image, metadata.image_size)
    else:
        pixels = np.random.default_rng(0).integers(0, 256, (*metadata.image_size, 3), np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
