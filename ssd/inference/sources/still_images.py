"""Sources of still images, and conversion of arrays, tensors and PIL images to RGB uint8 (H, W, 3)."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ssd.inference.sources.frames import Frame, PendingFrame
from ssd.utils.errors import ImageError
from ssd.utils.image import PILLOW_ERRORS, cause, read_image

# Float values may leave 0..1 by a quarter of a grey level, as in resized or denormalised images.
_TOLERANCE = 0.25 / 255


class SingleImage:
    """A source of one image; ``read`` returns RGB uint8 (H, W, 3) or raises ImageError."""

    num_frames = 1

    def __init__(self, name: str, read: Callable[[], np.ndarray], path: Path | None = None):
        self._name = name
        self._read = read
        self._path = path

    def __iter__(self) -> Iterator[PendingFrame]:
        yield PendingFrame(self._name, lambda: Frame(self._read(), self._name, self._path))


def open_image(pixels: np.ndarray | Tensor | Image.Image | bytes, name: str) -> SingleImage:
    """Open one image that is in memory; bytes are those of an image file."""
    if isinstance(pixels, bytes):
        return SingleImage(name, partial(bytes_to_rgb, pixels, name))
    if isinstance(pixels, np.ndarray):
        check_array(pixels, name)
        return SingleImage(name, partial(array_to_rgb, pixels))
    if isinstance(pixels, Image.Image):
        return SingleImage(name, partial(pil_to_rgb, pixels, name))
    check_tensor(pixels, name)
    return SingleImage(name, partial(tensor_to_rgb, pixels, name))


def bytes_to_rgb(content: bytes, name: str) -> np.ndarray:
    """Decode an image file and name it in the ImageError."""
    try:
        return read_image(content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def check_array(array: np.ndarray, name: str) -> None:
    """Raise ImageError unless the array is an image: uint8 (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.dtype != np.uint8 or array.size == 0:
        raise _unexpected("an array", array, name, "uint8, 0 to 255, of shape (H, W, 3); or a list of these")


def array_to_rgb(array: np.ndarray) -> np.ndarray:
    """Return an image that passed ``check_array`` as contiguous RGB, without a copy if possible; alpha is dropped."""
    if array.ndim == 2 or array.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(array if array.shape[2] == 3 else array[..., :3])


def check_tensor(tensor: Tensor, name: str) -> None:
    """Raise ImageError unless the tensor is an image or a batch: (3, H, W) or (B, 3, H, W), uint8 or float."""
    is_pixels = tensor.dtype == torch.uint8 or tensor.is_floating_point()
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3 or 0 in tensor.shape[-2:] or not is_pixels:
        expected = "uint8, 0 to 255, or float, 0 to 1, of shape (3, H, W) or (B, 3, H, W)"
        raise _unexpected("a tensor", tensor, name, expected)


def tensor_to_rgb(tensor: Tensor, name: str) -> np.ndarray:
    """Return a tensor (3, H, W) that passed ``check_tensor`` as RGB; float values outside 0..1 are an ImageError."""
    pixels = tensor.detach().permute(1, 2, 0)
    if pixels.is_floating_point():
        pixels = pixels.float()
        low, high = pixels.min().item(), pixels.max().item()
        if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # NaN compares false
            hint = "divide by 255" if low >= 0 else "pass it before normalisation, or use clamp(0, 1)"
            raise ImageError(f"{name}: a float tensor with values from {low:.4g} to {high:.4g}; expected 0..1: {hint}")
        pixels = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.cpu().contiguous().numpy()


def pil_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Return a PIL image as RGB, upright by its EXIF tag, as ``read_image`` returns files.

    Modes without a defined white (I, F) are an ImageError.
    """
    try:
        image.load()
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: {cause(error)}") from error
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: the range of a PIL image of mode {image.mode} is unknown; scale it to 0..255 and pass "
            "image.convert('L'), or pass the path of its file"
        )
    if image.mode.startswith("I;16"):  # convert() would clip; files of 16 bits also keep the high byte
        info, image = image.info, Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.info.update(info)
    # Pillow warns about palettes with transparency unless they pass through RGBA.
    rgb = (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
    with contextlib.suppress(*PILLOW_ERRORS):  # damaged EXIF data is ignored, as in files
        ImageOps.exif_transpose(rgb, in_place=True)
    return np.array(rgb)


def _unexpected(kind: str, value: np.ndarray | Tensor, name: str, expected: str) -> ImageError:
    dtype = str(value.dtype).removeprefix("torch.")
    return ImageError(f"{name}: {kind} of {dtype} and shape {tuple(value.shape)}; expected {expected}")
