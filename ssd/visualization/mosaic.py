"""Many pictures on one sheet, each with its caption."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 8  # pixels between the cells, and around all
_FONT_SIZE = 15
_PAPER, _INK = (255, 255, 255), (27, 31, 36)


def mosaic(images: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Put pictures onto a white sheet, row after row, none of them scaled.

    A column is as wide as its widest picture, a row as high as its highest.

    Args:
        images: RGB uint8, (H, W, 3) each, of any sizes.
        columns: pictures in a row.
        captions: a line under each, cut with an ellipsis where the column is narrower; None = no line.

    Returns:
        RGB uint8, (H, W, 3).

    Raises:
        ValueError: there is no picture, ``columns`` is not positive or the captions are not as many as the pictures.
    """
    if not images or columns < 1 or (captions is not None and len(captions) != len(images)):
        given = "no" if captions is None else len(captions)
        raise ValueError(f"a mosaic of {len(images)} images, {columns} columns and {given} captions; expected one or "
                         "more images, one or more columns and a caption for each image")  # fmt: skip
    font = ImageFont.load_default(_FONT_SIZE)
    columns = min(columns, len(images))
    caption_height = 0 if captions is None else _line_height(font)
    widths = [max(image.shape[1] for image in images[column::columns]) for column in range(columns)]
    heights = [
        max(image.shape[0] for image in images[start : start + columns]) + caption_height
        for start in range(0, len(images), columns)
    ]
    lefts, tops = _starts(widths), _starts(heights)
    sheet = Image.new("RGB", (lefts[-1], tops[-1]), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left = lefts[column] + (widths[column] - image.shape[1]) // 2
        sheet.paste(Image.fromarray(image), (left, tops[row]))
        if captions is not None:
            text = _fit(captions[index], widths[column], font)
            draw.text((left, tops[row] + image.shape[0] + 2), text, fill=_INK, font=font)
    return np.asarray(sheet)


def _starts(lengths: Sequence[int]) -> list[int]:
    """Where each cell begins, and, last, where the sheet ends."""
    return [_GAP, *(_GAP + int(end) + _GAP * (number + 1) for number, end in enumerate(np.cumsum(lengths)))]


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    _, _, _, bottom = font.getbbox("Ég")
    return int(bottom) + 4


def _fit(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, or as much of it as ``width`` pixels hold with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
