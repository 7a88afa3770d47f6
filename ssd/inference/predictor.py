"""Detections of whatever a user calls images: in batches, and read ahead while the network works."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor

from ssd.inference.detections import Detections
from ssd.inference.sources import Frame, open_source, read_ahead
from ssd.inference.sources.pixels import array_to_rgb, check_array
from ssd.inference.sources.video import VideoSource
from ssd.inference.tiling import merge_views
from ssd.inference.views import ImageViews, in_batches, make_views
from ssd.structures import Container
from ssd.utils.errors import ConfigError, ImageError
from ssd.utils.machine import available_cores

# Maps uint8 images (B, 3, S_h, S_w), RGB and on the CPU, to one Container an image, on the CPU, with boxes in pixels of
# the network input.
Network = Callable[[Tensor], list[Container]]

_MAX_THREADS = 16
_MIN_TILE = 32  # pixels


class Predictor:
    """Detects objects in images of any size.

    Args:
        network: what detects in batches of its own size.
        image_size: (height, width) of that size in pixels.
        class_names: index = label, background first.
        score_threshold: detections score above this where ``predict`` is not told otherwise. ``network`` has a
            threshold of its own, and what it drops does not come back.
        nms_threshold: of two boxes of one class that are found in different tiles, the lower-scored is dropped when
            their IoU exceeds this.
    """

    def __init__(
        self,
        network: Network,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        *,
        score_threshold: float = 0.0,
        nms_threshold: float = 0.45,
    ):
        self.network = network
        self.image_size = image_size
        self.class_names = tuple(class_names)
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect in one image.

        Args:
            image: RGB uint8, (H, W, 3).

        Raises:
            ImageError: it is something else.
        """
        check_array(image, "image")
        views = make_views(Frame(array_to_rgb(image), "image"), self.image_size, tile=None, keeps_pixels=True)
        (found,) = self._detect([views], 1, self.score_threshold, None)
        return found

    @overload
    def predict(
        self,
        source: object,
        *,
        stream: Literal[False] = False,
        batch_size: int = 8,
        score_threshold: float | None = None,
        tile: int | bool | None = None,
        on_error: Callable[[ImageError], None] | None = None,
    ) -> list[Detections]: ...

    @overload
    def predict(
        self,
        source: object,
        *,
        stream: Literal[True],
        batch_size: int = 8,
        score_threshold: float | None = None,
        tile: int | bool | None = None,
        on_error: Callable[[ImageError], None] | None = None,
    ) -> Iterator[Detections]: ...

    @overload
    def predict(
        self,
        source: object,
        *,
        stream: bool,
        batch_size: int = 8,
        score_threshold: float | None = None,
        tile: int | bool | None = None,
        on_error: Callable[[ImageError], None] | None = None,
    ) -> list[Detections] | Iterator[Detections]: ...

    def predict(
        self,
        source: object,
        *,
        stream: bool = False,
        batch_size: int = 8,
        score_threshold: float | None = None,
        tile: int | bool | None = None,
        on_error: Callable[[ImageError], None] | None = None,
    ) -> list[Detections] | Iterator[Detections]:
        """Detect in every image of a source, in its order.

        Images are decoded and resized in threads while the network works. A camera, or another stream without end, is
        taken frame by frame: a result does not wait for a batch to be full.

        Args:
            source: paths, URLs, folders, glob patterns, videos, cameras, arrays, ...: see ``open_source``.
            stream: return an iterator, which holds a few batches at a time whatever the size of the source. Its
                results carry the pixels of their image; those of a list do only where the image came neither from a
                file nor from a video, and ``draw`` reads files anew. Closing the iterator ends its threads. A camera
                has no end, and so no list.
            batch_size: images, or tiles, that go through the network together. On a CPU more cost memory and gain
                little; a GPU takes 32 and more.
            score_threshold: keep what scores above this; None = as the detector was made.
            tile: for images much larger than the network: also look at them in square tiles of this side in pixels, or
                of the network's own size for True. They overlap by a fifth; see ``merge_views``.
            on_error: is given each ImageError of an image that cannot be read; the image is left out. None = such an
                image raises it, once the images before it are done.

        Raises:
            ImageError: the source cannot be opened, or see ``on_error``.
            ConfigError: ``batch_size`` is below 1, or ``tile`` too small.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        tile_size = self._tile_size(tile)
        opened = open_source(source)
        is_live = isinstance(opened, VideoSource) and opened.num_frames is None
        batch_size = 1 if is_live else batch_size
        # Images with tiles are large, and each is many batches: one waits.
        num_threads = 1 if is_live or tile_size else min(available_cores(), _MAX_THREADS)
        depth = 1 if is_live or tile_size else max(batch_size, num_threads)
        prepare = partial(make_views, image_size=self.image_size, tile=tile_size, keeps_pixels=stream)
        images = read_ahead(opened, prepare, num_threads, depth)
        threshold = self.score_threshold if score_threshold is None else score_threshold
        results = self._detect_and_close(images, batch_size, threshold, on_error)
        return results if stream else list(results)

    def _tile_size(self, tile: int | bool | None) -> tuple[int, int] | None:
        """(width, height) in pixels."""
        if tile is None or tile is False:
            return None
        if tile is True:
            return self.image_size[1], self.image_size[0]
        if tile < _MIN_TILE:
            raise ConfigError(f"tile must be at least {_MIN_TILE} pixels, or True for the network's size, got {tile}")
        return tile, tile

    def _detect_and_close(
        self,
        images: Generator[ImageViews | ImageError, None, None],
        batch_size: int,
        score_threshold: float,
        on_error: Callable[[ImageError], None] | None,
    ) -> Iterator[Detections]:
        with closing(images):
            yield from self._detect(images, batch_size, score_threshold, on_error)

    def _detect(
        self,
        images: Iterable[ImageViews | ImageError],
        batch_size: int,
        score_threshold: float,
        on_error: Callable[[ImageError], None] | None,
    ) -> Iterator[Detections]:
        for batch in in_batches(images, batch_size, on_error):
            pixels = torch.from_numpy(np.stack([view for _, view in batch])).permute(0, 3, 1, 2)
            for (image, _), found in zip(batch, self.network(pixels), strict=True):
                image.found.append(found)
                if image.is_done:
                    yield self._finish(image, score_threshold)

    def _finish(self, image: ImageViews, score_threshold: float) -> Detections:
        found = merge_views(image.found, image.corners, image.size, self.nms_threshold).numpy()
        is_kept = found["scores"] > score_threshold
        frame = image.frame
        return Detections(
            boxes=found["boxes"][is_kept],
            labels=found["labels"][is_kept],
            scores=found["scores"][is_kept],
            class_names=self.class_names,
            orig_size=image.size,
            name=frame.name,
            path=frame.path,
            index=frame.index,
            video=frame.video,
            pixels=frame.image if image.keeps_pixels else None,
        )
