"""Detection in any source of images: in batches, with reading in threads while the network works."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssd.inference.detections import Detections
from ssd.inference.sources import SingleImage, open_source, read_ahead
from ssd.inference.sources.video import VideoSource
from ssd.inference.tiling import ImageViews, make_views, merge_views
from ssd.structures import Container
from ssd.utils.device import available_cores
from ssd.utils.errors import ConfigError, ImageError

# Maps RGB uint8 images (B, 3, S_h, S_w) to one Container per image, boxes in pixels of the network input; on the CPU.
Network = Callable[[Tensor], list[Container]]
OnError = Callable[[ImageError], None] | None

# For detectors whose checkpoint has no thresholds: those that were not evaluated, and those of other projects.
DEFAULT_SCORE_THRESHOLD = 0.5

_MAX_THREADS = 16
_MIN_TILE = 32  # pixels


class Predictor:
    """Detects objects in images of any size.

    Args:
        network: Detects in batches of images of its own size.
        image_size: (height, width) of that size in pixels.
        class_names: Index = label, background first.
        score_threshold: Default of ``predict``, one number or one for each label. The network has a threshold of its
            own, which limits its detections.
        nms_threshold: Of two boxes of one class from different tiles, the lower-scored is dropped above this IoU.
    """

    def __init__(
        self,
        network: Network,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        *,
        score_threshold: float | Sequence[float] = 0.0,
        nms_threshold: float = 0.45,
    ):
        self.network = network
        self.image_size = image_size
        self.class_names = tuple(class_names)
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    def __repr__(self) -> str:
        names = self.class_names[1:]
        classes = f"{len(names)} classes: {', '.join(names[:6])}{', ...' * (len(names) > 6)}"
        size = f"{self.image_size[1]} x {self.image_size[0]} pixels"
        threshold = float(np.ravel(self.score_threshold)[0])
        return f"<{type(self).__name__} of {classes}; {size}, {self.network!r}, score > {threshold:g}>"

    @overload
    def __call__(self, images: str | os.PathLike[str] | bytes | np.ndarray | Image.Image) -> Detections: ...

    @overload
    def __call__(self, images: Sequence[Any]) -> list[Detections]: ...

    @overload
    def __call__(self, images: Tensor) -> Detections | list[Detections]: ...

    def __call__(self, images: Any) -> Detections | list[Detections]:
        """Detect in an image, or in each image of a list or of a tensor (B, 3, H, W).

        An image is a path, URL, PIL image, RGB array (H, W, 3), tensor (3, H, W) or the bytes of a file.

        Raises:
            ImageError: An image cannot be read; or it is a folder, video or iterable, which ``predict`` takes.
        """
        source = open_source(images)
        if isinstance(source, SingleImage):
            (found,) = self.predict(source, stream=True)
            return found
        if isinstance(images, list | tuple | Tensor):
            return self.predict(source)
        raise ImageError(f"{images!r} may be many images; use predict(...), with stream=True for one by one")

    @overload
    def predict(
        self,
        source: object,
        *,
        stream: Literal[False] = False,
        batch_size: int = 8,
        score_threshold: float | Sequence[float] | None = None,
        tile: int | bool | None = None,
        on_error: OnError = None,
    ) -> list[Detections]: ...

    @overload
    def predict(
        self,
        source: object,
        *,
        stream: Literal[True],
        batch_size: int = 8,
        score_threshold: float | Sequence[float] | None = None,
        tile: int | bool | None = None,
        on_error: OnError = None,
    ) -> Iterator[Detections]: ...

    def predict(
        self,
        source: object,
        *,
        stream: bool = False,
        batch_size: int = 8,
        score_threshold: float | Sequence[float] | None = None,
        tile: int | bool | None = None,
        on_error: OnError = None,
    ) -> list[Detections] | Iterator[Detections]:
        """Detect in every image of a source, in its order; images are read in threads while the network works.

        Args:
            source: Paths, URLs, folders, glob patterns, videos, cameras, arrays, ...: see ``open_source``.
            stream: Return an iterator, which holds only a few batches, and whose results carry the pixels of their
                image; those of a list do so only for images without a file or video. Closing it ends its threads.
            batch_size: Images or tiles per batch, 1 for a camera. A GPU takes 32 and more; a CPU gains little.
            score_threshold: Objects that score above it are returned: one number, or one for each label (the first,
                of the background, is not used). None = that of the constructor.
            tile: Also detect in square tiles of this side in pixels, or of the network's size for True; see
                ``merge_views``.
            on_error: Called with the ImageError of each unreadable image, which is skipped. None = the error is raised
                after the results of the images before it.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        tile_size = self._tile_size(tile)
        opened = open_source(source)
        is_live = isinstance(opened, VideoSource) and opened.num_frames is None
        batch_size = 1 if is_live else batch_size
        # Images with tiles are large and fill many batches: one waits.
        num_threads = 1 if is_live or tile_size else min(available_cores(), _MAX_THREADS)
        depth = 1 if is_live or tile_size else max(batch_size, num_threads)
        prepare = partial(make_views, image_size=self.image_size, tile=tile_size, keeps_pixels=stream)
        images = read_ahead(opened, prepare, num_threads, depth)
        threshold = self.score_threshold if score_threshold is None else score_threshold
        results = self._detect(images, batch_size, threshold, on_error)
        return results if stream else list(results)

    def show_result(
        self, img: object, result: Detections, score_thr: float | None = None, out_file: str | None = None
    ) -> None:
        """Call ``result.show``; the signature is that of mmdetection, and ``result`` knows its image ``img``."""
        result.show(out_file, score_thr)

    def _tile_size(self, tile: int | bool | None) -> tuple[int, int] | None:
        """Return (width, height) of a tile in pixels; None = no tiles."""
        if tile is None or isinstance(tile, bool):
            return (self.image_size[1], self.image_size[0]) if tile else None
        if tile < _MIN_TILE:
            raise ConfigError(f"tile must be at least {_MIN_TILE} pixels, or True for the network's size, got {tile}")
        return tile, tile

    def _detect(
        self,
        images: Generator[ImageViews | ImageError, None, None],
        batch_size: int,
        score_threshold: float | Sequence[float],
        on_error: OnError,
    ) -> Iterator[Detections]:
        with closing(images):
            for batch in _in_batches(images, batch_size, on_error):
                pixels = torch.from_numpy(np.stack([view for _, view in batch])).permute(0, 3, 1, 2)
                for (image, _), found in zip(batch, self.network(pixels), strict=True):
                    image.found.append(found)
                    if len(image.found) == 1 + len(image.corners):
                        yield self._finish(image, score_threshold)

    def _finish(self, image: ImageViews, score_threshold: float | Sequence[float]) -> Detections:
        found = merge_views(image.found, image.corners, image.size, self.nms_threshold).numpy()
        thresholds = np.broadcast_to(score_threshold, len(self.class_names))
        is_kept = found["scores"] > thresholds[found["labels"]]
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
            time=frame.time,
            pixels=frame.image if image.keeps_pixels else None,
        )


def _in_batches(
    images: Iterable[ImageViews | ImageError], batch_size: int, on_error: OnError
) -> Iterator[list[tuple[ImageViews, np.ndarray]]]:
    """Yield batches of images with a view each. An error without ``on_error`` is raised after the views before it."""
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
