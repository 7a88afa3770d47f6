"""An image on which errors are marked, and numbered for a list beside it."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssd.visualization.theme import DARK, VERMILLION, YELLOW

_MAX_SIDE = 560  # pixels: sharp in a column of a page, and some 60 kB
_FONT_SIZE = 17
_DASH = 9  # pixels
_QUALITY = 82


def mark_errors(
    image: np.ndarray, found: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray
) -> tuple[bytes, tuple[int, int]]:
    """Mark what is found by thin lines, false alarms by red ones and F1, F2..., missed objects by dashes and M1...

    Kinds differ by line and letter as well as by colour. vizer, which draws the boxes elsewhere, has one kind of line.

    Args:
        image: RGB uint8, (H, W, 3).
        found: boxes (N, 4) corner form in pixels of the image.
        false_alarms: likewise.
        missed: likewise.

    Returns:
        A JPEG file, reduced so that neither side exceeds 560 pixels, and its width and height.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_SIDE / max(height, width))
    picture = Image.fromarray(image).resize((max(round(width * scale), 1), max(round(height * scale), 1)))
    draw = ImageDraw.Draw(picture)
    limit = np.array([*picture.size, *picture.size]) - 1
    found, false_alarms, missed = (
        np.clip(np.round(boxes.reshape(-1, 4) * scale), 0, limit).astype(int) for boxes in (found, false_alarms, missed)
    )
    for box in found.tolist():
        draw.rectangle(_grown(box, 1), outline=DARK.background)
        draw.rectangle(_grown(box, 0), outline="white")
    for box in false_alarms.tolist():
        draw.rectangle(_grown(box, 1), outline=VERMILLION, width=3)
    for box in missed.tolist():
        _draw_dashes(draw, box)
    _draw_tags(draw, picture.size, [("F", false_alarms.tolist(), VERMILLION), ("M", missed.tolist(), YELLOW)])
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), picture.size


def _grown(box: Sequence[int], by: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return left - by, top - by, max(right, left) + by, max(bottom, top) + by


def _draw_dashes(draw: ImageDraw.ImageDraw, box: Sequence[int]) -> None:
    """Yellow dashes on a dark line: seen on any image."""
    left, top, right, bottom = _grown(box, 0)
    draw.rectangle(_grown(box, 1), outline=DARK.background, width=4)
    for x in range(left, right + 1, 2 * _DASH):
        for y in (top, bottom):
            draw.line((x, y, min(x + _DASH, right), y), fill=YELLOW, width=2)
    for y in range(top, bottom + 1, 2 * _DASH):
        for x in (left, right):
            draw.line((x, y, x, min(y + _DASH, bottom)), fill=YELLOW, width=2)


def _draw_tags(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], groups: Sequence[tuple[str, Sequence[Sequence[int]], str]]
) -> None:
    """A letter and number at a corner of each box: at the first of its corners, or above it, where no other tag is."""
    font = ImageFont.load_default(_FONT_SIZE)
    taken: list[tuple[int, int, int, int]] = []
    for letter, boxes, color in groups:
        for number, (left, top, right, bottom) in enumerate(boxes, start=1):
            text = f"{letter}{number}"
            width, height = round(draw.textlength(text, font)) + 6, _FONT_SIZE + 3
            corners = [
                *((left, top - height), (right - width, top - height), (left, top), (right - width, top)),
                *((left, bottom - height), (right - width, bottom - height), (left, bottom), (right - width, bottom)),
            ]
            corners += [(left, top - step * height) for step in range(2, 6)]
            places = [_inside(corner, (width, height), size) for corner in corners]
            place = next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])
            taken.append(place)
            draw.rectangle(place, fill=color, outline=DARK.background)
            middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
            draw.text(middle, text, fill="black", font=font, anchor="mm")


def _inside(corner: tuple[int, int], tag: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The rectangle of a tag, moved into the image."""
    left = max(min(corner[0], size[0] - tag[0] - 1), 0)
    top = max(min(corner[1], size[1] - tag[1] - 1), 0)
    return left, top, left + tag[0], top + tag[1]


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
