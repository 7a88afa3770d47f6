"""What a long detection shows while it runs."""

import sys
import time
from collections import Counter
from types import TracebackType

from tqdm import tqdm

from ssd.inference.detections import Detections
from ssd.utils.errors import SSDError
from ssd.utils.terminal import say_line

_MAX_LINES = 100  # images that have a line each
_SECONDS_PER_LINE = 10.0  # after these


def speed_to_text(num_images: int, seconds: float) -> str:
    """Return how many images took how long, and how many that is a second, as words."""
    rate = f", {num_images / seconds:.1f} images/s" if seconds > 0 else ""
    return f"{num_images} images in {seconds:.1f} s{rate}"


class Progress:
    """Tells of every image of a small source in a line; of a large or endless one in a bar.

    The bar needs a terminal. Where there is none, the first images have a line each, and then one every ten seconds.
    Lines go to the standard output, the bar to the standard error.

    Args:
        total: number of images; None = unknown.
    """

    def __init__(self, total: int | None):
        self.total = total
        has_bar = sys.stderr.isatty() and (total is None or total > _MAX_LINES)
        self._bar = tqdm(total=total, unit=" images", smoothing=0.05, disable=not has_bar)
        self._start = self._last_line = time.monotonic()
        self._num_done = 0
        self._num_failed = 0

    def add(self, detections: Detections) -> None:
        """Count an image, and tell what was found in it."""
        counts = Counter(detections.names).most_common()
        found = ", ".join(f"{count} {name}" for name, count in counts) or "nothing"
        self._advance(f"{detections.name}: {found}")

    def fail(self, error: SSDError) -> None:
        """Count an image that failed, and tell why."""
        self._num_failed += 1
        self._advance(f"failed: {error}")

    def speed(self) -> str:
        """Return the number of images, the time they took and the speed, as words."""
        return speed_to_text(self._num_done, time.monotonic() - self._start)

    def _advance(self, text: str) -> None:
        self._num_done += 1
        self._bar.update()
        now = time.monotonic()
        if not self._bar.disable or (now - self._last_line < _SECONDS_PER_LINE and self._num_done > _MAX_LINES):
            return
        self._last_line = now
        self._write(text if self._num_done <= _MAX_LINES else f"{text} ({self.speed()}, {self._num_failed} failed)")

    def _write(self, text: str) -> None:
        total = "" if self.total is None else f"/{self.total:04d}"
        line = f"({self._num_done:04d}{total}) {text}"
        say_line(line)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
