"""One process's share of a job."""

import logging
import time
from collections.abc import Sequence

from ssd.inference.predictor import Predictor
from ssd.inference.progress import speed_to_text
from ssd.tools.bulk.detect import PredictOptions, detect_part
from ssd.tools.bulk.part_folder import PartFolder
from ssd.utils.interrupt import InterruptGuard

logger = logging.getLogger(__name__)

_SECONDS_PER_LINE = 10.0


class Pace:
    """Logs how far the work is and how fast it goes, every ten seconds.

    Args:
        total: number of images to do.
    """

    def __init__(self, total: int):
        self.total = total
        self.num_done = 0
        self._start = self._last_line = time.monotonic()

    def add(self, count: int) -> None:
        """Count some images."""
        self.num_done += count
        if time.monotonic() - self._last_line >= _SECONDS_PER_LINE:
            self._last_line = time.monotonic()
            logger.info("%s; %d in all", self.speed(), self.total)

    def speed(self) -> str:
        """Return the number of images, the time they took and the speed, as words."""
        return speed_to_text(self.num_done, time.monotonic() - self._start)


def do_parts(
    predictor: Predictor,
    folder: PartFolder,
    files: Sequence[str],
    parts: Sequence[int],
    options: PredictOptions,
    *,
    interrupt: InterruptGuard,
) -> None:
    """Detect in some parts and write them, until ``interrupt`` asks to end: then after the batch at hand.

    Args:
        predictor: the detector.
        folder: gets the parts.
        files: the images of the whole job.
        parts: which ones, in order.
        options: how to detect.
        interrupt: looked at after each image.

    Raises:
        OutputError: see ``PartFolder.write``.
        ConfigError: see ``Predictor.predict``.
    """
    pace = Pace(sum(len(folder.job.images_of(part)) for part in parts))

    def after_image() -> bool:
        pace.add(1)
        return interrupt.requested

    for part in parts:
        images = folder.job.images_of(part)
        own = files[images.start : images.stop]
        rows = detect_part(predictor, own, images.start, options, after_image=after_image)
        if rows is None:
            return
        folder.write(part, rows)
    logger.info("%s", pace.speed())
