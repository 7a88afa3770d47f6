"""An image on its way through the network, which sees the whole of it and then, if asked to, its tiles."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ssd.data.samples import resize_image
from ssd.inference.sources import Frame
from ssd.inference.tiling import Corners, tile_corners
from ssd.structures import Container
from ssd.utils.errors import ImageError

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


@dataclass
class ImageViews:
    """The views of an image, and what was found in them.

    Attributes:
        frame: the image; without pixels if nobody needs them any more.
        size: (width, height) in pixels.
        resized: the whole image as the network takes it.
        corners: of its tiles.
        keeps_pixels: whether its result carries them.
        found: in the whole, and in each tile so far.
    """

    frame: Frame
    size: tuple[int, int]
    resized: np.ndarray
    corners: list[Corners]
    keeps_pixels: bool
    found: list[Container] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether all views went through the network."""
        return len(self.found) == 1 + len(self.corners)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield each view, uint8 of the network's size, made when it is its turn."""
        yield self.resized
        for x1, y1, x2, y2 in self.corners:
            yield resize_image(self.frame.image[y1:y2, x1:x2], self.resized.shape[:2])


def make_views(
    frame: Frame, image_size: tuple[int, int], *, tile: tuple[int, int] | None, keeps_pixels: bool
) -> ImageViews:
    """Resize an image and divide it; what is done in the thread that read it.

    Args:
        frame: the image.
        image_size: (height, width) of the network input in pixels.
        tile: (width, height) of a tile in pixels; None = no tiles.
        keeps_pixels: whether the result of an image that can be read again carries its pixels; others always do.
    """
    size = frame.image.shape[1], frame.image.shape[0]
    corners = tile_corners(size, tile) if tile else []
    resized = resize_image(frame.image, image_size)
    keeps_pixels = keeps_pixels or (frame.path is None and frame.video is None)
    if not keeps_pixels and not corners:
        frame = replace(frame, image=_NO_PIXELS)
    return ImageViews(frame, size, resized, corners, keeps_pixels)


def in_batches(
    images: Iterable[ImageViews | ImageError], batch_size: int, on_error: Callable[[ImageError], None] | None
) -> Iterator[list[tuple[ImageViews, np.ndarray]]]:
    """Yield batches of views with their images, in order.

    Args:
        images: or the errors of those that could not be read.
        batch_size: views in each batch but the last.
        on_error: takes the errors. None = an error is raised after the batches of the images before it.
    """
    batch: list[tuple[ImageViews, np.ndarray]] = []
    for image in images:
        if isinstance(image, ImageError):
            if on_error is None:
                if batch:
                    yield batch
                raise image
            on_error(image)
            continue
        for view in image:
            batch.append((image, view))
            if len(batch) == batch_size:
                yield batch
                batch = []
    if batch:
        yield batch
