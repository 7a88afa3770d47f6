"""Drawings: boxes and labels on an image, by the vizer package, and several images on one sheet."""

import io
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from vizer.draw import draw_boxes

# Chosen by eye on images of 160x120 to 1600x1200: lines of 2 to 6 pixels, letters of 10 to 35.
_PIXELS_PER_LINE_WIDTH = 250
_PIXELS_PER_FONT_SIZE = 40
_MIN_FONT_SIZE = 10  # smaller letters of the default font are not legible

_GAP = 8  # pixels between the cells, and at the border
_FONT_SIZE = 15
_PAPER, _INK = (255, 255, 255), (27, 31, 36)


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw boxes with tags of class and score, the highest score on top; return the new image, RGB uint8 (H, W, 3).

    Boxes (N, 4) are corner form in pixels, clipped to the image; empty, inverted and NaN boxes are left out. Without
    ``scores`` (N,) they are drawn in the given order, without ``class_names`` (background first) with their numbers.
    """
    height, width = image.shape[:2]
    scale = math.sqrt(height * width)
    boxes, kept = _clean_boxes(np.asarray(boxes), width, height)
    if scores is not None:
        kept = kept[np.argsort(np.asarray(scores)[kept], kind="stable")]
    line_width = max(2, round(scale / _PIXELS_PER_LINE_WIDTH))
    no_names: dict[int, str] = defaultdict(str)  # all boxes before all tags, so that no line crosses a tag
    kept_labels = [int(label) for label in np.asarray(labels)[kept]]
    drawn = draw_boxes(image, boxes[kept], kept_labels, class_name_map=no_names, width=line_width)

    font = _TagFont(max(_MIN_FONT_SIZE, round(scale / _PIXELS_PER_FONT_SIZE)))
    for index, label in zip(kept, kept_labels, strict=True):
        text = str(label) if class_names is None else class_names[label]
        text += "" if scores is None else f":{float(scores[index]):.2f}"
        _paste_tag(drawn, _draw_tag(text, label, font), boxes[index])
    return drawn


def _clean_boxes(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole pixels inside the image, (N, 4), and the indices of the boxes that can be drawn, (K,)."""
    limit = np.array([width, height, width, height])
    clipped = np.clip(boxes.reshape(-1, 4).astype(np.float64), 0, limit)
    kept = np.flatnonzero(np.all(clipped[:, 2:] > clipped[:, :2], axis=1))  # NaN compares false
    pixels = np.zeros_like(clipped, dtype=np.int64)
    pixels[kept] = np.minimum(clipped[kept].round(), limit - 1).astype(np.int64)
    return pixels, kept


class _TagFont(ImageFont.FreeTypeFont):
    """Pillow's default font with the ``getsize`` that vizer calls and Pillow 10 removed."""

    def __init__(self, size: int):
        default = ImageFont.load_default(size)
        assert isinstance(default, ImageFont.FreeTypeFont), "Pillow is built without FreeType"
        super().__init__(io.BytesIO(default.font_bytes), size)

    def getsize(self, text: str) -> tuple[int, int]:
        """Return (width, height) of a tag in pixels; the height is the same for all texts."""
        height = sum(self.getmetrics())
        return math.ceil(self.getlength(text) + 0.2 * height), height


def _draw_tag(text: str, label: int, font: _TagFont) -> np.ndarray:
    """Black text on the pale colour of the label: RGB uint8 (h, w, 3).

    vizer draws half-transparent text into the lower left corner of a box; a box on white is legible on any image.
    """
    width, height = font.getsize(text)
    height += 2 * math.ceil(0.05 * height)
    blank = np.full((height, width, 3), 255, np.uint8)
    return draw_boxes(blank, [[0, 0, width, height]], [label], class_name_map={label: text}, width=0, font=font)


def _paste_tag(image: np.ndarray, tag: np.ndarray, box: np.ndarray) -> None:
    """Paste the tag above the box, or inside its upper edge where there is no room above."""
    tag = tag[: image.shape[0], : image.shape[1]]
    height, width = tag.shape[:2]
    left = min(int(box[0]), image.shape[1] - width)
    top = max(int(box[1]) - height, 0)
    image[top : top + height, left : left + width] = tag


def mosaic(images: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Place images, RGB uint8 (H, W, 3) each, on a white sheet, row by row and unscaled; return it as such an image.

    Captions are lines below the images, cut with an ellipsis at the width of the column.
    """
    assert images
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
