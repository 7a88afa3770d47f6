"""Pictures of an explanation. Boxes are corner form in pixels of the network input."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from ssd.tools.explain.matching import Matching
from ssd.visualization.theme import LIGHT, SMALL_FONT_SIZE, WIDE, bar_style, make_figure

if TYPE_CHECKING:
    from ssd.tools.explain.explain import Explanation

_MAX_OBJECTS = 11  # with a panel of their own, behind that of the whole image
_MAX_NUMBERED = 6  # hard negatives
_MAX_DRAWN = 500  # negatives; a focal loss has them all
_MAX_BARS = 8
_TITLE = 0.62  # inches above and below a panel
_FADE = 0.5  # of the image towards white, so that lines stand out
_MARGIN = 0.1  # of the sides of the image, around it: priors leave it
_ZOOM = 1.35  # size of a view, of the boxes in it
_MIN_ZOOM = 0.3  # size of a view, of the sides of the image
_BLACK, _PRIOR, _OTHER, _PALE = "#000000", LIGHT.series[0], LIGHT.series[1], LIGHT.series[5]


def draw_priors(explanation: "Explanation") -> Figure:
    """Draw the cells of each level, the centres of its priors, and all priors of the cell in the middle."""
    layout = explanation.prior_box
    number = len(layout.feature_maps)
    figure, panels = _make_panels(explanation.image, number, 2 if number <= 4 else 3)
    levels = zip(panels, layout.feature_maps, layout.strides, explanation.level_priors, strict=True)
    for level, (axes, (rows, columns), (step_y, step_x), priors) in enumerate(levels, start=1):
        row, column = rows // 2, columns // 2
        cells = priors.view(rows * columns, -1, 4)
        boxes, centers = cells[row * columns + column], (cells[:, 0, :2] + cells[:, 0, 2:]) / 2
        _show_image(axes, explanation.image)
        width = 0.3 if max(rows, columns) > 11 else 0.6
        axes.vlines(np.arange(columns + 1) * step_x, 0, rows * step_y, LIGHT.muted, linewidth=width)
        axes.hlines(np.arange(rows + 1) * step_y, 0, columns * step_x, LIGHT.muted, linewidth=width)
        axes.plot(*centers.T.numpy(), ".", color=_BLACK, markersize=5 * width, markeredgewidth=0)
        cell = boxes.new_tensor([[column * step_x, row * step_y, (column + 1) * step_x, (row + 1) * step_y]])
        _draw_boxes(axes, cell, _BLACK, 0.8, facecolor=_PALE, alpha=0.5)
        for index, box in enumerate(boxes):
            pair = index // 2 % 3  # the squares, then two shapes for each ratio
            _draw_boxes(axes, box[None], LIGHT.series[pair], 1.6, linestyle=("-", "--", ":")[pair])
        shapes = ", ".join(f"{w:.0f}×{h:.0f}" for w, h in (boxes[:, 2:] - boxes[:, :2]).tolist())
        head = f"level {level}: {columns}×{rows} cells, stride {step_x:g}, {len(priors)} priors"
        _set_title(axes, f"{head}\n{textwrap.fill(shapes, 36)}")
    return figure


def draw_matches(explanation: "Explanation", matching: Matching) -> Figure:
    """Draw all objects, and each with the priors that learn it."""
    image = explanation.image
    number, shown = len(matching.boxes), min(len(matching.boxes), _MAX_OBJECTS)
    figure, panels = _make_panels(image, 1 + shown, 3)
    _show_image(panels[0], image, margin=0)
    _draw_boxes(panels[0], matching.boxes, _BLACK, 2)
    _set_title(panels[0], f"{number} object{'s' * (number != 1)}" + (f", the first {shown} apart" * (number > shown)))
    for gt, axes in enumerate(panels[1:]):
        _draw_tag(panels[0], matching.boxes[gt, :2], str(gt), ha="left", va="top")
        priors, box = matching.priors_of(gt), matching.boxes[gt : gt + 1]
        is_forced = matching.is_forced[priors]
        _show_image(axes, image, box, explanation.priors[priors])
        _draw_boxes(axes, explanation.priors[priors[~is_forced]], _PRIOR, 1.2)
        _draw_boxes(axes, explanation.priors[priors[is_forced]], _OTHER, 2, linestyle="--")
        _draw_boxes(axes, box, _BLACK, 2)
        name = explanation.class_names[int(matching.labels[gt])]
        _set_title(axes, f"{gt} {name}\n{explanation.describe_match(gt)}")
    keys = [("prior, by threshold", _PRIOR, "-"), ("prior, forced", _OTHER, "--")]
    _add_legend(figure, ("object", _BLACK, "-"), *keys)
    return figure


def draw_negatives(explanation: "Explanation", matching: Matching) -> Figure:
    """Draw the negatives in the loss, and the losses of all background priors."""
    image, boxes = explanation.image, explanation.priors[matching.negatives]
    losses = matching.cls_loss[matching.prior_labels == 0].sort(descending=True).values.numpy()
    figure, (left, right) = _make_panels(image, 2, 2)
    _show_image(left, image)
    _draw_boxes(left, boxes[_MAX_NUMBERED:_MAX_DRAWN], _PALE, 0.7, alpha=0.7)
    _draw_boxes(left, matching.boxes, _BLACK, 2)
    _draw_boxes(left, boxes[:_MAX_NUMBERED], _OTHER, 1.8, linestyle="--")
    for rank in reversed(range(min(_MAX_NUMBERED, len(boxes)))):
        _draw_tag(left, boxes[rank, 2:], str(rank + 1), ha="right", va="bottom")
    _set_title(left, f"the {len(boxes)} hardest of {len(losses)} background priors")

    ranks, xlim = np.arange(1, len(losses) + 1), (1, max(len(losses), 2))
    right.plot(ranks, losses, color=LIGHT.muted, linewidth=1.6)
    right.fill_between(ranks[: len(boxes)], losses[: len(boxes)], color=_PALE, alpha=0.6, linewidth=0)
    right.set(xscale="log", xlabel="rank by loss", ylabel="classification loss", xlim=xlim, ylim=(0, None))
    _set_title(right, f"in the loss: ranks 1 to {len(boxes)}")
    return figure


def draw_detection(explanation: "Explanation", candidate: int) -> Figure:
    """Draw the prior and the box of a detection with the candidates that it suppressed, and the scores of the prior."""
    found, objects = explanation.candidates, explanation.matching
    prior = int(found.priors[candidate])
    boxes = torch.stack([explanation.priors[prior], found.boxes[candidate]])
    suppressed = found.boxes[found.suppressed_by(candidate)]
    figure, (left, right) = _make_panels(explanation.image, 2, 2)
    _show_image(left, explanation.image, boxes, suppressed)
    _draw_boxes(left, boxes[:0] if objects is None else objects.boxes, _BLACK, 2)
    _draw_boxes(left, suppressed, _PRIOR, 1)
    _draw_boxes(left, boxes[:1], _PRIOR, 2, linestyle="--")
    _draw_boxes(left, boxes[1:], _OTHER, 2.2)
    start, end = ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()
    arrow: dict[str, Any] = {"arrowstyle": "->", "color": _BLACK, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    left.annotate("", end, start, arrowprops=arrow)
    offsets = zip(("dx", "dy", "dw", "dh"), explanation.offsets[prior].tolist(), strict=True)
    text = ", ".join(f"{name} {value:+.2f}" for name, value in offsets)
    _set_title(left, f"{explanation.place(prior)}\n{text}; NMS drops {len(suppressed)} others")

    class_scores = explanation.class_scores[prior]
    scores, labels = class_scores.topk(min(_MAX_BARS, len(class_scores)))
    bars = right.barh(range(len(scores)), scores.tolist(), 0.7, **bar_style(0, LIGHT))
    right.bar_label(bars, fmt="%.3f", padding=4, color=LIGHT.text, fontsize=SMALL_FONT_SIZE)
    right.set_yticks(range(len(scores)), ["background" if k == 0 else explanation.class_names[k] for k in labels])
    right.set(xlim=(0, 1.18), ylim=(max(len(scores), 4) - 0.4, -0.6), xlabel="score of the prior")
    right.grid(False, axis="y")
    keys = [("prior", _PRIOR, "--"), ("detection", _OTHER, "-"), ("suppressed by it", _PRIOR, "-")]
    _add_legend(figure, ("object", _BLACK, "-"), *keys)
    return figure


def _make_panels(image: np.ndarray, number: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row, each of the shape of the image."""
    columns = min(columns, number)
    rows = -(-number // columns)
    width = WIDE if columns > 1 else WIDE / 2
    height = rows * (width / columns * image.shape[0] / image.shape[1] + _TITLE)
    figure, grid = make_figure(LIGHT, width=width, height=height, rows=rows, columns=columns)
    for axes in grid.flat[number:]:
        axes.set_axis_off()
    return figure, list(grid.flat[:number])


def _set_title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=SMALL_FONT_SIZE, color=LIGHT.text)


def _show_image(axes: Axes, image: np.ndarray, *boxes: Tensor, margin: float = _MARGIN) -> None:
    """Show an image, RGB uint8 (H, W, 3), pale: a view of its shape around boxes (N, 4), or all of it."""
    size = np.array(image.shape[1::-1])  # (width, height)
    share, center = 1 + 2 * margin, size / 2
    if boxes:
        corners = np.concatenate([box.numpy() for box in boxes])
        low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        share = np.clip(_ZOOM * ((high - low) / size).max(), _MIN_ZOOM, share)
        center = (low + high) / 2
    axes.imshow((image * (1 - _FADE) + 255 * _FADE).astype(np.uint8), extent=(0, size[0], size[1], 0))
    (x1, y1), (x2, y2) = center - share * size / 2, center + share * size / 2
    axes.set(xlim=(x1, x2), ylim=(y2, y1), xticks=[], yticks=[], anchor="N")  # else the layout cuts off the title
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=LIGHT.grid)


def _draw_boxes(axes: Axes, boxes: Tensor, color: str, linewidth: float, **style: Any) -> None:
    """Draw the outlines of boxes (N, 4); thick ones have light behind, so that they are seen on any image."""
    effects = [withStroke(linewidth=linewidth + 1, foreground="#FFFFFF", alpha=0.7)] if linewidth > 1 else []
    style = {"facecolor": "none", "edgecolor": color, "linewidth": linewidth, "path_effects": effects, **style}
    for x1, y1, x2, y2 in boxes.tolist():
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))


def _draw_tag(axes: Axes, corner: Tensor, text: str, **align: Any) -> None:
    """Write a number at the corner (x, y) of a box, inside the view."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x, y = np.clip(corner.numpy(), [left, top], [right, bottom])
    frame = {"facecolor": "#FFFFFF", "edgecolor": LIGHT.text, "boxstyle": "round,pad=0.15"}
    axes.text(x, y, text, color=_BLACK, fontsize=SMALL_FONT_SIZE, bbox=frame, **align)


def _add_legend(figure: Figure, *keys: tuple[str, str, str]) -> None:
    """Add a legend of boxes, by name, colour and line style, below all axes."""
    boxes = [Rectangle((0, 0), 1, 1, fill=False, label=key, ec=color, ls=style) for key, color, style in keys]
    figure.legend(handles=boxes, loc="outside lower center", ncols=4, fontsize=SMALL_FONT_SIZE, edgecolor=LIGHT.grid)
