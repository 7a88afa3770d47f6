"""The pictures of docs/how-it-works.md: ``python docs/make_pictures.py [FOLDER]``, docs/images by default.

A rendered scene with the priors of SSD300, matched, mined and suppressed by the library's own functions. Where a
network is needed, a stand-in is shown: it finds an object in each prior with a probability that follows their overlap.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ssd.config import Config, load_config
from ssd.modeling.anchors import BoxCoder, PriorBox, match_priors
from ssd.modeling.anchors.prior_box import prior_shapes
from ssd.modeling.box_head import PostProcessor
from ssd.modeling.box_head.box_predictor import class_scores
from ssd.modeling.box_head.loss import hard_negative_mining
from ssd.structures.boxes import center_to_corner, corner_to_center, pairwise_iou
from ssd.tools.data.scenes import render_scene
from ssd.visualization.palette import GREEN, ORANGE, SKY_BLUE, VERMILLION
from ssd.visualization.theme import WIDE, add_legend, make_figure, series_style

SIDE = 300  # pixels of the scene and of the network input
SEED, NUMBER = 0, 5  # of the scene
# What VGG16 gives SSD300 (SSD, Sec. 3 and Fig. 2).
MAPS, STRIDES = [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]
PALETTE = (ORANGE, SKY_BLUE, GREEN, VERMILLION)


@dataclass(frozen=True)
class Example:
    """A scene and its priors.

    Attributes:
        cfg: of SSD300.
        image: RGB uint8 (300, 300, 3).
        names: of its objects, G.
        boxes: (G, 4) corner form relative to the image.
        priors: (P, 4) centre form relative to the image.
        iou: (G, P).
        labels: (P,) number of the matched object from 1, 0 = background.
        gt_index: (P,) the nearest object.
    """

    cfg: Config
    image: object
    names: list[str]
    boxes: Tensor
    priors: Tensor
    iou: Tensor
    labels: Tensor
    gt_index: Tensor


def make_example() -> Example:
    """Render the scene and match the priors; every object is a class of its own."""
    cfg = load_config(None, ["TEST.CONFIDENCE_THRESHOLD", 0.3])
    image, objects = render_scene(SEED, NUMBER, (SIDE, SIDE))
    boxes = torch.stack([torch.as_tensor(one.box).float() for one in objects]) / SIDE
    keys = cfg.MODEL.PRIORS
    shapes = [prior_shapes(*level) for level in zip(keys.MIN_SIZES, keys.MAX_SIZES, keys.ASPECT_RATIOS, strict=True)]
    maps, strides = [(cells, cells) for cells in MAPS], [(stride, stride) for stride in STRIDES]
    priors = PriorBox((SIDE, SIDE), maps, strides, shapes, keys.CLIP)()
    corners = center_to_corner(priors)
    numbers = torch.arange(1, len(objects) + 1)
    labels, gt_index = match_priors(boxes[None], numbers[None], corners, cfg.MODEL.THRESHOLD)
    iou = pairwise_iou(boxes, corners)
    names = [one.name for one in objects]
    return Example(cfg, image, names, boxes, priors, iou, labels[0], gt_index[0])


def stand_in(example: Example) -> tuple[Tensor, Tensor]:
    """Logits (1, P, C) and offsets (1, P, 4) as of a network that knows the objects, roughly."""
    generator = torch.Generator().manual_seed(0)
    overlap = example.iou.amax(dim=0)
    probability = (overlap.pow(1.5) * 1.1).clamp(1e-3, 0.97)
    cls_logits = torch.zeros(len(overlap), len(example.names) + 1)
    noise = 0.5 * torch.randn(len(overlap), generator=generator)
    object_logits = (probability / (1 - probability)).log() + noise
    cls_logits.scatter_(1, example.gt_index[:, None] + 1, object_logits[:, None])
    cls_logits[:, 1:].masked_fill_(cls_logits[:, 1:] == 0, -8)
    targets = BoxCoder().encode(corner_to_center(example.boxes)[example.gt_index], example.priors)
    bbox_pred = targets + (1.2 - overlap[:, None]) * 0.6 * torch.randn(targets.shape, generator=generator)
    return cls_logits[None], bbox_pred[None]


def draw_priors(example: Example) -> Figure:
    """Each level's cells, and the priors of the cell in the middle."""
    figure, grid = make_figure(width=WIDE, height=6.6, rows=2, columns=3)
    counts = [n * n * (2 + 2 * len(r)) for n, r in zip(MAPS, example.cfg.MODEL.PRIORS.ASPECT_RATIOS, strict=True)]
    for axes, n, level in zip(grid.flat, MAPS, example.priors.split(counts), strict=True):
        of_a_cell = len(level) // n**2
        _show_image(axes, example.image, alpha=0.55)
        centers = level[::of_a_cell, :2] * SIDE
        axes.scatter(*centers.T, s=min(14, 120 / n), color="black", linewidths=0)
        middle = (n // 2) * n + n // 2
        for index, box in enumerate(center_to_corner(level)[middle * of_a_cell : (middle + 1) * of_a_cell] * SIDE):
            _draw_box(axes, box, PALETTE[0] if index < 2 else PALETTE[3], 1.8)
        axes.set_title(f"{n} × {n} cells, {of_a_cell} priors each: {len(level):,}")
    return figure


def draw_matching(example: Example) -> Figure:
    """The objects, and the priors that are matched to each."""
    figure, grid = make_figure(width=WIDE, height=4.9, columns=2)
    left, right = grid[0]
    for axes, title in (
        (left, "objects"),
        (right, f"{int((example.labels > 0).sum())} of {len(example.priors):,} priors"),
    ):
        _show_image(axes, example.image, alpha=1 if axes is left else 0.45)
        axes.set_title(title)
    corners = center_to_corner(example.priors) * SIDE
    for index, (name, box) in enumerate(zip(example.names, example.boxes * SIDE, strict=True)):
        color = PALETTE[index % len(PALETTE)]
        _draw_box(left, box, color, 2.5)
        own = example.labels == index + 1
        for prior in corners[own]:
            _draw_box(right, prior, color, 1.0)
        best = float(example.iou[index].max())
        label = f"{name}: {int(own.sum())} priors, best IoU {best:.2f}"
        right.plot([], [], color=color, linewidth=2, label=label)
    figure.legend(
        **{"loc": "outside lower center", "ncols": 2, "frameon": False, "fontsize": 10}, handles=_handles(right)
    )
    return figure


def draw_mining(example: Example) -> Figure:
    """Which negatives are kept, and their losses next to those of the others."""
    cls_logits, _ = stand_in(example)
    labels = example.labels[None]
    loss = F.cross_entropy(cls_logits[0], labels[0], reduction="none")[None]
    kept = hard_negative_mining(loss, labels, example.cfg.MODEL.NEG_POS_RATIO)[0]
    figure, grid = make_figure(width=WIDE, height=4.6, columns=2)
    left, right = grid[0]
    _show_image(left, example.image, alpha=0.45)
    centers = example.priors[:, :2] * SIDE
    for mask, color, marker, text in (
        (kept, VERMILLION, "x", "negatives that are kept"),
        (example.labels > 0, "#0072B2", "o", "positives"),
    ):
        left.scatter(
            *centers[mask].T, s=16, color=color, marker=marker, label=f"{int(mask.sum())} {text}", linewidths=1.2
        )
    add_legend(left, loc="upper left")
    left.set_title("centres of the priors")
    negatives = loss[0][example.labels == 0].sort(descending=True).values
    num_kept = int(kept.sum())
    shown = torch.arange(1, len(negatives) + 1)
    right.plot(shown, negatives, color="#59626D", linewidth=1.6)
    right.fill_between(
        shown[:num_kept], negatives[:num_kept], color=VERMILLION, alpha=0.4, label=f"the hardest {num_kept}"
    )
    right.set_xscale("log")
    right.set_xlabel(f"{len(negatives):,} negatives, hardest first")
    right.set_ylabel("−log(background)")
    add_legend(right)
    return figure


def draw_loss() -> Figure:
    """Both terms for one prior, as functions of what the network says."""
    figure, grid = make_figure(width=WIDE, height=3.3, columns=2)
    left, right = grid[0]
    probability = torch.linspace(0.005, 0.995, 199)
    logits = torch.stack([(1 - probability).log(), probability.log()], dim=1)  # (199, 2)
    left.plot(probability, F.cross_entropy(logits, torch.ones(199, dtype=torch.long), reduction="none"), **_line(0))
    left.set_xlabel("probability of the right class")
    left.set_ylabel("cls_loss")
    error = torch.linspace(-3, 3, 241)
    right.plot(error, F.smooth_l1_loss(error, error * 0, reduction="none"), **_line(0), label="smooth L1")
    right.plot(error, error.square() / 2, **_line(1), label="half of the square")
    right.set_ylim(0, 3)
    right.set_xlabel("error of an offset")
    right.set_ylabel("reg_loss")
    add_legend(right)
    return figure


def draw_post_processing(example: Example) -> Figure:
    """What scores above the threshold, and what is left of it."""
    cls_logits, bbox_pred = stand_in(example)
    test = example.cfg.TEST
    thresholds = {"score_threshold": test.CONFIDENCE_THRESHOLD, "nms_threshold": test.NMS_THRESHOLD}
    processor = PostProcessor((SIDE, SIDE), **thresholds, max_per_image=test.MAX_PER_IMAGE)
    scores = class_scores(cls_logits, "softmax")
    boxes = center_to_corner(BoxCoder().decode(bbox_pred, example.priors))
    (found,) = processor(scores, boxes)
    sure = scores[0] > processor.score_threshold
    figure, grid = make_figure(width=WIDE, height=4.9, columns=2)
    left, right = grid[0]
    for axes in (left, right):
        _show_image(axes, example.image, alpha=0.45)
    left.set_title(f"{int(sure.sum())} candidates above {processor.score_threshold}")
    right.set_title(f"{len(found['scores'])} detections after NMS")
    for prior, label in sure.nonzero().tolist():
        _draw_box(left, boxes[0, prior] * SIDE, PALETTE[label % len(PALETTE)], 0.8)
    for box, label, score in zip(found["boxes"], found["labels"].tolist(), found["scores"].tolist(), strict=True):
        color = PALETTE[(label - 1) % len(PALETTE)]
        _draw_box(right, box, color, 2.5)
        x, y = float(box[0].clamp(4, SIDE - 100)), float(box[1].clamp(min=14))
        frame = {"facecolor": "white", "edgecolor": color, "pad": 1.5, "linewidth": 1}
        right.text(x, y, f"{example.names[label - 1]} {score:.2f}", fontsize=9, bbox=frame)
    return figure


def make_pictures() -> dict[str, Figure]:
    """Every picture by the name of its file, without suffix."""
    example = make_example()
    return {
        "priors": draw_priors(example),
        "matching": draw_matching(example),
        "mining": draw_mining(example),
        "loss": draw_loss(),
        "post_processing": draw_post_processing(example),
    }


def _show_image(axes: Axes, image: object, alpha: float) -> None:
    """The scene, paler by ``alpha``, without ticks."""
    axes.imshow(image, alpha=alpha, extent=(0, SIDE, SIDE, 0))
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0), xticks=[], yticks=[])
    axes.grid(False)


def _draw_box(axes: Axes, box: Tensor, color: str, width: float) -> None:
    x1, y1, x2, y2 = box.tolist()
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=width))


def _handles(axes: Axes) -> list[object]:
    return axes.get_legend_handles_labels()[0]


def _line(index: int) -> dict[str, object]:
    return {**series_style(index), "marker": ""}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    for name, picture in make_pictures().items():
        picture.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # inches
        picture.savefig(folder / f"{name}.jpg", dpi=100, pil_kwargs={"quality": 70})
