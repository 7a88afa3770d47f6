"""RGB uint8 (H, W, 3) from the images that a program holds: arrays, tensors, PIL images."""

import contextlib
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ssd.utils.errors import ImageError
from ssd.utils.image import PILLOW_ERRORS, cause

# Values of float tensors may leave 0..1 by a quarter of a grey level, as those of a resized or unnormalised image do.
_TOLERANCE = 0.25 / 255
_pillow_lock = threading.Lock()


def check_array(array: np.ndarray, name: str) -> None:
    """Raise ImageError unless the array is an image: uint8 (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(f"{_describe('an array', array, name)} expected (H, W, 3){_shape_remedy(array.shape)}")
    if array.dtype != np.uint8:
        raise ImageError(f"{_describe('an array', array, name)} expected uint8{_dtype_remedy(array.dtype)}")
    if array.size == 0:
        raise ImageError(f"{_describe('an array', array, name)} it has no pixels")


def array_to_rgb(array: np.ndarray) -> np.ndarray:
    """Return an image that passed ``check_array`` as RGB uint8 (H, W, 3), contiguous; the array itself if it is that.

    Of four channels the last, alpha, is dropped, as it is of files.
    """
    if array.ndim == 2 or array.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(array if array.shape[2] == 3 else array[..., :3])


def check_tensor(tensor: Tensor, name: str) -> None:
    """Raise ImageError unless the tensor is an image or a batch: (3, H, W) or (B, 3, H, W), uint8 or float."""
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
        raise ImageError(f"{_describe('a tensor', tensor, name)} expected (3, H, W) or (B, 3, H, W), RGB")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise ImageError(f"{_describe('a tensor', tensor, name)} expected uint8 0..255, or float 0..1")
    if tensor.shape[-1] == 0 or tensor.shape[-2] == 0:
        raise ImageError(f"{_describe('a tensor', tensor, name)} it has no pixels")


def tensor_to_rgb(tensor: Tensor, name: str) -> np.ndarray:
    """Return a tensor (3, H, W) that passed ``check_tensor`` as RGB uint8 (H, W, 3).

    Raises:
        ImageError: float values are not in 0..1.
    """
    pixels = tensor.detach().permute(1, 2, 0)
    if pixels.is_floating_point():
        pixels = pixels.float()
        low, high = pixels.min().item(), pixels.max().item()
        if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # NaN compares false
            remedy = "divide by 255" if low >= 0 else "give it before it is normalised, or use clamp(0, 1)"
            raise ImageError(
                f"{name}: a float tensor with values from {low:.4g} to {high:.4g}; expected 0..1: {remedy}"
            )
        pixels = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.cpu().contiguous().numpy()


def pil_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Return a PIL image of any mode as RGB uint8 (H, W, 3), read and turned upright as a file is.

    Raises:
        ImageError: it cannot be decoded, is empty, or its mode has no agreed white (I, F) or no way to RGB (La).
    """
    try:
        with _pillow_lock:  # a list may hold the same image twice, and Image.load is not safe in two threads
            image.load()
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: {cause(error)}") from error
    if 0 in image.size:
        raise ImageError(f"{name}: a PIL image of {image.width} x {image.height} has no pixels")
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: nobody knows what is white in a PIL image of mode {image.mode}; scale it to 0..255 and give "
            "image.convert('L'), or give the path of its file"
        )
    if image.mode.startswith("I;16"):  # convert() would clip; the high byte is what files of 16 bits are read as
        exif_source, image = image, Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.info.update(exif_source.info)
    try:
        # Pillow warns of palettes with transparency unless they pass through RGBA.
        rgb = (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
    except ValueError as error:
        raise ImageError(f"{name}: a PIL image of mode {image.mode}: {error}; convert it to RGB first") from error
    _turn_upright(rgb)
    return np.array(rgb)


def _turn_upright(image: Image.Image) -> None:
    """As its EXIF tag says; damaged EXIF data counts as none, as for files."""
    with contextlib.suppress(*PILLOW_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)


def _describe(kind: str, value: np.ndarray | Tensor, name: str) -> str:
    return f"{name}: {kind} of {str(value.dtype).removeprefix('torch.')} and shape {tuple(value.shape)};"


def _shape_remedy(shape: Sequence[int]) -> str:
    if len(shape) == 4:
        return "; give a batch as list(array)"
    return "; use array.transpose(1, 2, 0)" if len(shape) == 3 and shape[0] in (1, 3, 4) else ""


def _dtype_remedy(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "; if its values are 0..1, use (array * 255).round().astype(numpy.uint8)"
    return "; use (array >> 8).astype(numpy.uint8)" if dtype == np.uint16 else ""
