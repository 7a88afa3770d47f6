"""Pixels are compared with Pillow, an independent decoder."""

import io
import os
import struct
import tracemalloc
import zlib
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from ssd.utils.errors import ImageError
from ssd.utils.image import (
    IMAGE_SUFFIXES,
    image_names,
    image_size,
    read_image,
    read_reduced_image,
    reduced_size,
    write_image,
)

WIDTH, HEIGHT = 64, 48
refuse_to_decode = Mock(side_effect=AssertionError("the pixels were asked for"))
ORIENTATION_TAG = 0x0112
# What each EXIF orientation asks of the viewer (Exif 2.32, table 6), as a map of the stored array.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}


@pytest.fixture
def pixels() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT))


def encode(image: Image.Image, file_format: str, orientation: int | None = None) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[ORIENTATION_TAG] = orientation
    image.save(buffer, file_format, **({"exif": exif} if orientation is not None else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_listed_suffix_is_read_as_pillow_reads_it(tmp_path, pixels, suffix) -> None:
    path = tmp_path / f"größe 猫{suffix}"
    Image.fromarray(pixels).save(path)
    image = read_image(path)
    assert (image.dtype, image.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    with Image.open(path) as opened:
        difference = image.astype(int) - np.asarray(opened.convert("RGB"))
    assert np.abs(difference).max() <= 1
    np.testing.assert_array_equal(image, read_image(path.read_bytes()))
    assert image_size(str(path)) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "GIF", "TIFF"])
def test_other_modes_and_formats_end_as_rgb(pixels, mode) -> None:
    source = Image.fromarray(pixels).convert({"GIF": "P", "TIFF": "RGB"}.get(mode, mode))
    data = encode(source, mode if len(mode) > 2 and mode != "RGBA" else "PNG")
    np.testing.assert_array_equal(read_image(data), np.asarray(source.convert("RGB")))


def test_transparency_is_dropped_and_16_bits_keep_the_high_byte(pixels) -> None:
    transparent = np.dstack([pixels, np.full((HEIGHT, WIDTH), 7, np.uint8)])
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(transparent), "PNG")), pixels)
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=bytes(range(16)))
    np.testing.assert_array_equal(read_image(buffer.getvalue()), np.asarray(palette.convert("RGB")))
    deep = pixels.astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(read_image(cv2.imencode(".png", deep[..., ::-1])[1].tobytes()), pixels)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path, pixels, file_format, orientation) -> None:
    stored = read_image(encode(Image.fromarray(pixels), file_format))
    path = tmp_path / "a"
    path.write_bytes(encode(Image.fromarray(pixels), file_format, orientation))
    image = read_image(path)
    np.testing.assert_array_equal(image, UPRIGHT[orientation](stored))
    assert image_size(path) == (image.shape[1], image.shape[0])


@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_may_be_a_long_number(tmp_path, pixels, file_format, byte_order) -> None:
    """Type 4 instead of 3, as some cameras write it, in either byte order."""
    start = b"MM" if byte_order == ">" else b"II"
    entry = struct.pack(f"{byte_order}HIHHHII", 42, 8, 1, ORIENTATION_TAG, 4, 1, 6)
    path = tmp_path / "a"
    Image.fromarray(pixels).save(path, file_format, exif=b"Exif\0\0" + start + entry + bytes(4))
    assert image_size(path) == (HEIGHT, WIDTH)
    image = read_image(path)
    np.testing.assert_array_equal(image, np.rot90(read_image(encode(Image.fromarray(pixels), file_format)), -1))
    assert image_size(path, (WIDTH, HEIGHT)) == (WIDTH, HEIGHT) == read_image(path, (WIDTH, HEIGHT)).shape[1::-1]


def test_header_and_pixels_that_disagree_are_an_error(tmp_path, pixels, monkeypatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a\.png: \(64, 48\) .*\(48, 64\)"):
        read_image(path)


def test_expected_size_picks_the_orientation_that_agrees(pixels) -> None:
    data = encode(Image.fromarray(pixels), "PNG", orientation=6)
    upright = np.rot90(pixels, -1)
    np.testing.assert_array_equal(read_image(data, (HEIGHT, WIDTH)), upright)
    np.testing.assert_array_equal(read_image(data, (WIDTH, HEIGHT)), pixels)
    np.testing.assert_array_equal(read_image(data, (5, 5)), upright)
    without = encode(Image.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(read_image(without, (HEIGHT, WIDTH)), pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_reduced_jpeg_is_the_mean_of_squares(mode, reduction) -> None:
    """In RGB: Pillow decodes in full, and the squares are averaged; a smooth image, whose squares JPEG keeps well."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (WIDTH * 2, HEIGHT * 2), interpolation=cv2.INTER_LINEAR)
    data = encode(Image.fromarray(smooth).convert(mode), "JPEG")
    full = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
    means = full.reshape(HEIGHT * 2 // reduction, reduction, WIDTH * 2 // reduction, reduction, 3).mean(axis=(1, 3))
    image, applied = read_reduced_image(data, reduction)
    assert applied == reduction
    assert np.abs(image - means).mean() < 1.5


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP"])
def test_other_formats_are_not_reduced(pixels, file_format) -> None:
    data = encode(Image.fromarray(pixels), file_format)
    image, applied = read_reduced_image(data, 4)
    assert applied == 1
    np.testing.assert_array_equal(image, read_image(data))


@pytest.mark.parametrize(
    ("size", "expected", "applied"),
    [((64, 48), (48, 64), 8), ((64, 44), (44, 64), 4), ((63, 48), (48, 63), 1), ((63, 44), (63, 44), 8)],
)
def test_exif_allows_whole_squares_only(size, expected, applied) -> None:
    """Else a turned image would begin with the incomplete square of its far edge."""
    data = encode(Image.new("RGB", size, (200, 100, 50)), "JPEG", orientation=6)
    image, found = read_reduced_image(data, 8, expected)
    assert found == applied
    assert image.shape[1::-1] == reduced_size(expected, applied)
    assert read_reduced_image(data, 8)[1] == 1  # of a size that nobody knows


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_bytes_after_the_end_do_no_harm(pixels, file_format) -> None:
    data = encode(Image.fromarray(pixels), file_format)
    np.testing.assert_array_equal(read_image(data + b"\0" * 40), read_image(data))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_truncated_file_is_an_error(tmp_path, pixels, file_format, kept) -> None:
    data = encode(Image.fromarray(pixels), file_format)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match=r"half\.jpg: .*(truncated|damaged)"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "empty"), (b"not an image, but text\n" * 9, "not an image"), (b"\x89PNG", "not an image")],
)
def test_unreadable_content_names_file_and_cause(tmp_path, content, cause) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.jpg: .*{cause}"):
        read_image(path)
    with pytest.raises(ImageError, match=r"a\.jpg: "):
        image_size(path)


def test_files_that_are_no_images(tmp_path, pixels) -> None:
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"nothing\.jpg: No such file"):
            read(tmp_path / "nothing.jpg")
        with pytest.raises(ImageError, match="directory"):
            read(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")  # is not waited for
    with pytest.raises(ImageError, match=r"pipe\.jpg: "):
        read_image(tmp_path / "pipe.jpg")
    with open(tmp_path / "disk.jpg", "wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ImageError, match=r"disk\.jpg: 1099511627776 bytes"):
        read_image(tmp_path / "disk.jpg")
    with pytest.raises(ImageError, match="PNG"):  # a format that OpenCV lacks
        read_image(encode(Image.fromarray(pixels), "ICO"))


@pytest.mark.parametrize("name", ["a.png", "b.JPG", "c d.webp", "größe.bmp"])
def test_what_is_written_can_be_read(tmp_path, name) -> None:
    image = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    write_image(image, tmp_path / name)
    assert np.abs(read_image(tmp_path / name).astype(int) - image).max() < 8


def test_an_image_that_cannot_be_written(tmp_path) -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    for name in ("a", "a.xyz"):
        with pytest.raises(ImageError, match=r"a.*: 2 x 2 .*\.png"):
            write_image(image, tmp_path / name)
    with pytest.raises(ImageError, match=r"70000 x 1 "):
        write_image(np.zeros((1, 70000, 3), np.uint8), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ImageError, match=r"a\.png: "):
        write_image(image, tmp_path / "a.png")


def zero_png(width: int, height: int) -> bytes:
    """A valid PNG of zeros, 1 bit a pixel, made without the pixels ever being in memory at once."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + -(-width // 8))) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def header_of(file_format: str, width: int, height: int) -> bytes:
    """An image whose header says another size than its pixels have."""
    content = bytearray(encode(Image.new("RGB", (9, 9)), file_format))
    if file_format == "JPEG":
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", height, width)
    elif file_format == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif file_format == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    else:
        canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        frame = b"VP8X" + struct.pack("<IB3x", 10, 0) + canvas
        content = bytearray(b"RIFF" + struct.pack("<I", len(content) + 10) + b"WEBP" + frame + content[12:])
    return bytes(content)


def test_a_huge_image_is_refused_from_its_header(tmp_path, monkeypatch) -> None:
    source = zero_png(33_000, 33_000)
    assert len(source) < 1_000_000
    path = tmp_path / "huge.png"
    path.write_bytes(source)
    monkeypatch.setattr(cv2, "imdecode", refuse_to_decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse_to_decode)
    tracemalloc.start()
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"huge\.png: 33000 x 33000 .* 268435456 "):
            read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000  # bytes; the pixels alone are 3 GB


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP", "JPEG"])
def test_every_format_is_held_to_the_limit(file_format, monkeypatch) -> None:
    older = "|could not create decoder" if file_format == "WEBP" else ""  # libwebp refuses it first
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imdecode", refuse_to_decode)
        with pytest.raises(ImageError, match=f"20000 x 20000 |400000000 {older}"):
            read_image(header_of(file_format, 20_000, 20_000))
    monkeypatch.setattr("ssd.utils.image.MAX_PIXELS", 3072)
    assert read_image(zero_png(64, 48)).shape == (48, 64, 3)
    with pytest.raises(ImageError, match=r"65 x 48 .* 3072 "):
        read_image(zero_png(65, 48))


def test_pillow_neither_warns_nor_refuses_below_our_limit(tmp_path) -> None:
    """Its own limits are 0.09 and 0.18 billion pixels."""
    path = tmp_path / "a.png"
    for side in (10_000, 14_000):
        path.write_bytes(zero_png(side, side))
        assert image_size(path) == (side, side)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(ImageError, match="truncated"):
            read_image(path)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_turns_nothing(file_format, tmp_path, pixels) -> None:
    path = tmp_path / "a"
    Image.fromarray(pixels).save(path, file_format, exif=b"Exif\0\0no TIFF at all")
    assert image_size(path) == (WIDTH, HEIGHT)
    assert read_image(path).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 100), (1, 5000)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP"])
def test_odd_sizes(file_format, size) -> None:
    image = read_image(encode(Image.new("RGB", size, (250, 120, 10)), file_format))
    assert image.shape == (size[1], size[0], 3)
    assert np.abs(image.astype(int) - (250, 120, 10)).max() < 4


def test_the_images_of_a_folder(tmp_path, caplog) -> None:
    """Sorted; suffixes in any case, broken links, but no folders."""
    with pytest.raises(ImageError, match=r"\.jpg, \.jpeg, \.png, \.bmp, \.webp"):
        image_names(tmp_path)
    with pytest.raises(ImageError, match="nothing"):
        image_names(tmp_path / "nothing")
    for name in ("b.JPG", "a.png", "größe 猫.Jpeg", "notes.txt", "d.webp", "e.bmp", "f"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nothing")
    assert image_names(tmp_path) == ["a.png", "b.JPG", "d.webp", "e.bmp", "größe 猫.Jpeg", "link.jpg"]
    assert "other suffixes" in caplog.text
    assert "no suffix (1)" in caplog.text  # and notes.txt is not meant to be an image
    with pytest.raises(ImageError, match=r"link\.jpg: No such file"):
        read_image(tmp_path / "link.jpg")
