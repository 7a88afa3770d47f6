"""Detection in one part of a listing."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ssd.inference.predictor import Predictor
from ssd.inference.sources.addresses import address_scheme
from ssd.tools.bulk.listed_images import ListedImages, public_name
from ssd.tools.bulk.rows import Failure, Row
from ssd.utils.errors import ImageError


@dataclass(frozen=True)
class PredictOptions:
    """How to detect; see ``Predictor.predict``."""

    batch_size: int
    score_threshold: float
    tile: int | bool | None


def detect_part(
    predictor: Predictor,
    files: Sequence[str],
    first: int,
    options: PredictOptions,
    *,
    after_image: Callable[[], bool] = lambda: False,
) -> list[Row] | None:
    """Detect in some images of a listing.

    Args:
        predictor: the detector.
        files: the images, see ``ListedImages``.
        first: number of the first one in the whole listing.
        options: how.
        after_image: called after each; True = stop.

    Returns:
        A row an image, in their order; None if ``after_image`` stopped it.
    """
    errors: list[ImageError] = []
    found: dict[int, Row] = {}

    def note(error: ImageError) -> None:
        errors.append(error)
        if after_image():
            raise _StoppedError

    results = predictor.predict(
        ListedImages(files, first),
        stream=True,
        batch_size=options.batch_size,
        score_threshold=options.score_threshold,
        tile=options.tile,
        on_error=note,
    )
    try:
        with closing(results):  # type: ignore[type-var]  # a generator, whose end ends its threads
            for result in results:
                found[result.index] = replace(result, pixels=None)
                if after_image():
                    return None
    except _StoppedError:
        return None
    # Errors come in the order of their images, and those have no result.
    failed = [index for index in range(first, first + len(files)) if index not in found]
    for index, error in zip(failed, errors, strict=True):
        found[index] = _failure(files[index - first], index, error)
    return [found[index] for index in sorted(found)]


class _StoppedError(Exception):
    """The work is to stop at an image that cannot be read."""


def _failure(file: str, index: int, error: ImageError) -> Failure:
    return Failure(public_name(file), None if address_scheme(file) else Path(file), index, str(error))
