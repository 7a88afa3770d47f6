"""What becomes of a mistake in a dataset: it is raised, or what it concerns is left out and counted.

Boxes that cannot be learnt (inverted, empty, outside the image) are no matter of the policy: ``drop_bad_boxes`` leaves
them out under each, with a warning of its own.
"""

import logging
from typing import Protocol

from ssd.utils.errors import ConfigError, DatasetError

logger = logging.getLogger(__name__)

ON_ERROR = ("raise", "skip")
_SHOWN = 5  # mistakes named in the warning


class ErrorPolicy(Protocol):
    """Decides about the mistakes that a dataset finds as it is built.

    Attributes:
        reads_headers: every image is looked at, not only those whose annotation leaves their size open.
        wants_notes: ``note`` hears of all that is mended; without it ``drop_bad_boxes`` warns of boxes.
    """

    reads_headers: bool
    wants_notes: bool

    def reject(self, error: DatasetError) -> None:
        """Raise the error, or return; then the object, annotation or image that it names is left out."""

    def note(self, error: DatasetError) -> None:
        """Hear of what is mended, or left out, under every policy."""


class RaiseErrors:
    """The first mistake ends it."""

    reads_headers = False
    wants_notes = False

    def reject(self, error: DatasetError) -> None:
        """See ``ErrorPolicy``."""
        raise error

    def note(self, error: DatasetError) -> None:
        """See ``ErrorPolicy``."""


class SkipErrors:
    """Mistakes are counted; the first are kept, to be named.

    Attributes:
        count: of the mistakes.
        first: the first of them.
    """

    reads_headers = True
    wants_notes = False

    def __init__(self) -> None:
        self.count = 0
        self.first: list[DatasetError] = []

    def reject(self, error: DatasetError) -> None:
        """See ``ErrorPolicy``."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(error)

    def note(self, error: DatasetError) -> None:
        """See ``ErrorPolicy``."""

    def warn(self, place: str) -> None:
        """Log the count and the first mistakes, if there are any."""
        if self.count:
            named = "; ".join(map(str, self.first)) + ("; ..." if self.count > len(self.first) else "")
            logger.warning("%s: %d mistakes, left out: %s", place, self.count, named)


RAISE_ERRORS = RaiseErrors()


def make_policy(on_error: str) -> RaiseErrors | SkipErrors:
    """Return the policy that DATASETS.ON_ERROR names.

    Raises:
        ConfigError: it is none of ON_ERROR.
    """
    if on_error not in ON_ERROR:
        raise ConfigError(f"DATASETS.ON_ERROR must be {' or '.join(ON_ERROR)}, got {on_error!r}")
    return SkipErrors() if on_error == "skip" else RAISE_ERRORS
