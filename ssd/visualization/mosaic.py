"""Several images on one sheet, each with its caption."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 8  # pixels between the cells, and at the border
_FONT_SIZE = 15
_PAPER, _INK = (255, 255, 255), (27, 31, 36)


def mosaic(images: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Place images on a white sheet, row by row and unscaled.

    Args:
        images: RGB uint8, (H, W, 3) each, of any sizes.
        columns: Number of images in a row.
        captions: Line below each image, cut with an ellipsis at the width of the column.

    Returns:
        RGB uint8, (H, W, 3).
    """
    assert images
    assert columns >= 1
    assert captions is None or len(captions) == len(images)
    font = ImageFont.load_default(_FONT_SIZE)
    caption_height = 0 if captions is None else int(font.getbbox("Ég")[3]) + 4
    widths = [max(image.shape[1] for image in images[column::columns]) for column in range(min(columns, len(images)))]
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    heights = [max(image.shape[0] for image in row) + caption_height for row in rows]
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
    """Start of each cell, and, last, end of the sheet."""
    return [_GAP, *(_GAP + int(end) + _GAP * (number + 1) for number, end in enumerate(np.cumsum(lengths)))]


def _fit(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Text, cut with an ellipsis to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
