import io

import numpy as np
import pytest
import torch
from PIL import Image

from ssd.inference.sources import open_source
from ssd.utils.errors import ImageError
from ssd.utils.image import read_image

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def read_one(source: object) -> np.ndarray:
    (pending,) = open_source(source)
    image = pending.read().image
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_arrays(pixels: np.ndarray) -> None:
    assert read_one(pixels) is pixels
    grey = pixels[..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(read_one(array), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_one(np.dstack([pixels, grey])), pixels)
    np.testing.assert_array_equal(read_one(pixels[::-1, :, ::-1]), pixels[::-1, :, ::-1])


def test_tensors(pixels: np.ndarray) -> None:
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for same in (tensor, tensor.float() / 255, (tensor.double() / 255).requires_grad_()):
        np.testing.assert_array_equal(read_one(same), pixels)
    half = read_one((tensor.float() / 255).half()).astype(int)
    assert np.abs(half - pixels).max() <= 1
    rounded = torch.full((3, 4, 5), 1 + 1e-6)
    rounded[0] = -1e-6
    assert np.unique(read_one(rounded).reshape(-1, 3), axis=0).tolist() == [[0, 255, 255]]


def test_a_batch_is_several_images(pixels: np.ndarray) -> None:
    batch = torch.from_numpy(np.stack([pixels, pixels[::-1].copy()])).permute(0, 3, 1, 2)
    source = open_source(batch)
    assert source.num_frames == 2
    first, second = (pending.read() for pending in source)
    np.testing.assert_array_equal(first.image, pixels)
    np.testing.assert_array_equal(second.image, pixels[::-1])
    assert [(frame.name, frame.index) for frame in (first, second)] == [("image[0]", 0), ("image[1]", 1)]
    assert list(open_source(batch[:0])) == []


@pytest.mark.parametrize(
    ("image", "fact"),
    [
        (np.zeros((4, 5, 3)), r"float64 and shape \(4, 5, 3\); expected uint8"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"\(2, 4, 5, 3\).*\(H, W, 3\); or a list"),
        (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\).*\(H, W, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
        (torch.zeros(4, 5, 3), r"float32 and shape \(4, 5, 3\)"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), r"int64 .*uint8, 0 to 255"),
        (torch.zeros(3, 0, 5), r"\(3, 0, 5\)"),
    ],
)
def test_other_arrays_and_tensors_are_refused(image: np.ndarray | torch.Tensor, fact: str) -> None:
    with pytest.raises(ImageError, match=r"^image: .*" + fact):
        open_source(image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_pil_images_of_every_mode(pixels: np.ndarray, mode: str) -> None:
    via = {"RGBa": "RGBA", "PA": "P"}.get(mode, mode)
    image = Image.fromarray(pixels).convert(via).convert(mode)
    expected = image.convert("RGBA").convert("RGB") if mode == "PA" else image.convert("RGB")
    np.testing.assert_array_equal(read_one(image), np.asarray(expected))


def test_pil_images_of_16_bit_keep_the_high_byte(pixels: np.ndarray) -> None:
    deep = pixels[..., 0].astype(np.uint16) * 256 + 77
    for values in (deep, deep.astype(">u2")):
        image = read_one(Image.fromarray(values))
        np.testing.assert_array_equal(image, np.repeat(pixels[..., :1], 3, axis=2))


def test_palette_with_transparency_does_not_warn(pixels: np.ndarray) -> None:
    content = encode(Image.fromarray(pixels).convert("P"), transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_one(Image.open(io.BytesIO(content))), read_image(content))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_pil_images_are_turned_as_their_files_are(pixels: np.ndarray, orientation: int, mode: str) -> None:
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256) if mode == "I;16" else Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(image if mode == "I;16" else image.convert(mode), exif=exif)
    opened = Image.open(io.BytesIO(content))
    assert opened.mode == mode
    np.testing.assert_array_equal(read_one(opened), read_image(content))


def test_damaged_exif_is_ignored(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    image.info["exif"] = b"Exif\0\0MM\0\x2a\xff\xff"
    np.testing.assert_array_equal(read_one(image), pixels)


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        (torch.tensor([[[0.0, 255.0]]] * 3), "0 to 255; .*divide by 255"),
        (torch.tensor([[[-2.1, 2.6]]] * 3), "-2.1 to 2.6; .*normalisation"),
        (torch.tensor([[[float("nan"), 1.0]]] * 3), "nan"),
        *(([Image.new(mode, (4, 5))], rf"^image 0: .*mode {mode}") for mode in ("I", "F")),
        (b"no image", "image: image of 8 bytes"),
    ],
)
def test_images_that_fail_when_they_are_read(source: object, fact: str) -> None:
    (pending,) = open_source(source)
    with pytest.raises(ImageError, match=fact):
        pending.read()


def test_bytes_and_a_damaged_file(pixels: np.ndarray) -> None:
    content = encode(Image.fromarray(pixels))
    np.testing.assert_array_equal(read_one(content), pixels)
    (pending,) = open_source(Image.open(io.BytesIO(content[:400])))
    with pytest.raises(ImageError, match="truncated"):
        pending.read()
