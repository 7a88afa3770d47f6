"""Detection in parts of a listing by one process."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from ssd.inference.predictor import Predictor
from ssd.inference.sources.addresses import address_scheme
from ssd.tools.bulk.listing import ListedImages, public_name
from ssd.tools.bulk.part_folder import Job, PartFolder
from ssd.tools.bulk.rows import Failure, Row
from ssd.utils.distributed import Launch, select_local_device
from ssd.utils.errors import ImageError
from ssd.utils.interrupt import InterruptGuard

_SECONDS_PER_LINE = 10.0


def start_device(name: str, launch: Launch) -> torch.device:
    """Return the device of this process, ready for images of one size."""
    device = select_local_device(name, launch)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        if device.index is not None:
            torch.cuda.set_device(device)
    return device


def detect_part(predictor: Predictor, files: Sequence[str], job: Job, part: int, batch_size: int) -> Iterator[Row]:
    """Yield the rows of a part, in order; ``files`` are its images only."""
    images = job.slice_of(part)
    errors: deque[ImageError] = deque()  # of the images without a result, in order
    results = predictor.predict(
        ListedImages(files, images.start),
        stream=True,
        batch_size=batch_size,
        score_threshold=job.score_threshold,
        tile=job.tile,
        on_error=errors.append,
    )
    index = images.start
    with closing(results):  # type: ignore[type-var]  # a generator; closing it ends its threads
        for result in chain(results, [None]):
            end = images.stop if result is None else result.index
            for failed in range(index, end):
                yield _failure(files[failed - images.start], failed, str(errors.popleft()))
            if result is not None:
                yield replace(result, pixels=None)
            index = end + 1


def _failure(file: str, index: int, error: str) -> Failure:
    return Failure(public_name(file), None if address_scheme(file) else Path(file), index, error)


def show_progress(total: int) -> "tqdm[NoReturn]":
    """Return a bar of a number of images, drawn every ten seconds: several processes and log files have it too."""
    return tqdm(total=total, unit=" images", mininterval=_SECONDS_PER_LINE)


def do_parts(
    predictor: Predictor,
    files: Sequence[str],
    folder: PartFolder,
    parts: Sequence[int],
    batch_size: int,
    *,
    interrupt: InterruptGuard,
) -> None:
    """Detect in parts of the job of ``files``, and write them; ``interrupt`` ends this after the batch at hand."""
    job = folder.job
    with show_progress(job.count_images(parts)) as progress:
        for part in parts:
            rows = []
            for row in detect_part(predictor, files[job.slice_of(part)], job, part, batch_size):
                rows.append(row)
                progress.update()
                if interrupt.requested:
                    return
            folder.write(part, rows)
