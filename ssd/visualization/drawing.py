"""Drawings: boxes, by the vizer package, and labels on an image, and several images on one sheet."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from vizer.draw import _draw_single_box  # draw_boxes has its own colours, and some look alike

from ssd.visualization.palette import class_color, ink_on

# Chosen by eye on images of 160x120 to 1600x1200: lines of 2 to 6 pixels, letters of 10 to 35.
_PIXELS_PER_LINE_WIDTH = 250
_PIXELS_PER_FONT_SIZE = 36
_MIN_FONT_SIZE = 10  # smaller letters of the default font are not legible

_GAP = 8  # pixels between the cells, and at the border
_FONT_SIZE = 15
_PAPER, _INK = (255, 255, 255), (27, 31, 36)

Box = tuple[int, int, int, int]  # corner form, both ends included


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
    boxes, kept = _clean_boxes(np.asarray(boxes), width, height)
    if scores is not None:
        kept = kept[np.argsort(np.asarray(scores)[kept], kind="stable")]
    picture = Image.fromarray(image)
    pen = Pen(picture)
    tags = []
    for index in kept.tolist():
        label, box = int(labels[index]), tuple(boxes[index].tolist())
        pen.draw_box(box, class_color(label))
        text = str(label) if class_names is None else class_names[label]
        tags.append((text if scores is None else f"{text} {float(scores[index]):.0%}", box, class_color(label)))
    pen.draw_tags(tags)  # above all boxes, so that no line crosses a tag
    return np.array(picture)


class Pen:
    """Lines and letters on an image, in proportion to its size, which are seen on any photograph.

    A line is a colour between two of black or white, whichever is its opposite; letters are on a tag of the colour.
    """

    def __init__(self, picture: Image.Image):
        scale = math.sqrt(picture.width * picture.height)
        self.picture, self.draw = picture, ImageDraw.Draw(picture)
        self.line_width = max(2, round(scale / _PIXELS_PER_LINE_WIDTH))
        self.font_size = max(_MIN_FONT_SIZE, round(scale / _PIXELS_PER_FONT_SIZE))
        self.font = ImageFont.load_default(self.font_size)

    def draw_box(self, box: Box, color: str, dash: int = 0) -> None:
        """Draw the outline of a box inside its limits, in dashes of a length if it is not 0."""
        draw, halo, line = self.draw, max(1, self.line_width // 3), self.line_width
        left, top, right, bottom = box
        outer = (left - halo, top - halo, right + halo, bottom + halo)
        draw.rectangle(outer, outline=ink_on(color), width=line + 2 * halo)
        if not dash:
            _draw_single_box(self.picture, *box, color=ImageColor.getrgb(color), width=line)
            return
        for x in range(left, right + 1, 2 * dash):
            for y in (top + line // 2, bottom - line // 2):
                draw.line((x, y, min(x + dash, right), y), fill=color, width=line)
        for y in range(top, bottom + 1, 2 * dash):
            for x in (left + line // 2, right - line // 2):
                draw.line((x, y, x, min(y + dash, bottom)), fill=color, width=line)

    def draw_tags(self, tags: Sequence[tuple[str, Box, str]]) -> None:
        """Write texts at boxes on their colours, the last one on top and each where no later one is, if it can be."""
        draw = self.draw
        placed: list[Box] = []
        for text, box, _ in reversed(tags):
            placed.append(self._place(math.ceil(draw.textlength(text, self.font)), box, placed))
        for (text, _, color), (x1, y1, x2, y2) in zip(tags, reversed(placed), strict=True):
            draw.rectangle((x1, y1, x2, y2), fill=color)
            draw.text(((x1 + x2) / 2, (y1 + y2) / 2), text, fill=ink_on(color), font=self.font, anchor="mm")

    def _place(self, length: int, box: Box, placed: Sequence[Box]) -> Box:
        """Place of a tag: above the box, inside its upper edge, below it, or inside its lower edge."""
        (width, height), tall = self.picture.size, int(1.3 * self.font_size)
        long = min(length + tall // 2, width) - 1
        left = max(min(box[0], width - 1 - long), 0)
        tops = (box[1] - tall, box[1], box[3] + 1, box[3] + 1 - tall)
        fitting = [(left, top, left + long, top + tall - 1) for top in tops if 0 <= top <= height - tall]
        free = [tag for tag in fitting if not any(_overlap(tag, other) for other in placed)]
        return (free or fitting or [(left, 0, left + long, min(tall, height) - 1)])[0]


def _overlap(first: Box, second: Box) -> bool:
    return all(max(first[k], second[k]) <= min(first[k + 2], second[k + 2]) for k in (0, 1))


def _clean_boxes(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole pixels inside the image, (N, 4), and the indices of the boxes that can be drawn, (K,)."""
    limit = np.array([width, height, width, height])
    clipped = np.clip(boxes.reshape(-1, 4).astype(np.float64), 0, limit)
    kept = np.flatnonzero(np.all(clipped[:, 2:] > clipped[:, :2], axis=1))  # NaN compares false
    pixels = np.zeros_like(clipped, dtype=np.int64)
    pixels[kept] = np.minimum(clipped[kept].round(), limit - 1).astype(np.int64)
    return pixels, kept


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
