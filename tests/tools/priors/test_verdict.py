from pathlib import Path

import torch

from ssd.config import load_config
from ssd.tools.priors.coverage import Coverage, Group, Part
from ssd.tools.priors.layout import make_layout
from ssd.tools.priors.verdict import compare, make_verdict

KEYS = ["MODEL.BACKBONE.NAME", "tiny", "INPUT.IMAGE_SIZE", 320, "MODEL.PRIORS.MIN_SIZES", [60, 80, 100, 120]]
KEYS += ["MODEL.PRIORS.MAX_SIZES", [80, 100, 120, 140], "MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 4]
LAYOUT = make_layout(load_config(None, KEYS))
STRIDE = LAYOUT.pixel_strides[0]


def group(name: str, num_objects: int, *, recall: float, side: float) -> Group:
    return Group(name, num_objects, recall, median_iou=0.3, median_side=side, num_forced=0, positives=2.0)


def part(*classes: Group) -> Part:
    total = group("all", sum(item.num_objects for item in classes), recall=classes[0].recall, side=80)
    return Part(1, total, by_size=[total], by_aspect=[total], by_class=[*classes])


def verdict(*classes: Group) -> str:
    sides = torch.cat([torch.full((item.num_objects,), item.median_side) for item in classes])
    none = torch.zeros(len(sides), dtype=torch.int64)
    sizes = sides[:, None].expand(-1, 2)
    coverage = Coverage(1, 0.5, sizes, none, none.float(), none, none, none.bool(), [len(sides)])
    return " ".join(make_verdict(part(*classes), coverage, LAYOUT))


def test_a_small_class_asks_for_a_finer_level_even_if_it_is_rare() -> None:
    """Sure of IoU 0.5 is a square from 2.72 strides on."""
    small, large = 1.4 * STRIDE, 5 * STRIDE
    cells = group("cell", 95, recall=0.99, side=large)
    told = verdict(cells, group("platelet", 5, recall=0.5, side=small))
    assert f"5% of the objects have sides below {2.72 * STRIDE:.0f} pixels" in told
    assert "most of platelet" in told
    assert "OUT_INDICES" in told
    assert "OUT_INDICES" not in verdict(cells, group("platelet", 5, recall=0.5, side=3 * STRIDE))  # the shapes misfit
    assert "OUT_INDICES" not in verdict(cells, group("platelet", 5, recall=0.95, side=small))  # it is covered
    many = verdict(group("cell", 85, recall=0.99, side=large), group("platelet", 15, recall=0.95, side=small))
    assert "15% of the objects have sides below" in many


def test_classes_by_recall() -> None:
    recalls = {"a": 0.0, "b": 0.02, "c": 0.3, "d": 0.7, "e": 0.95}
    told = verdict(*(group(name, 10, recall=recall, side=99) for name, recall in recalls.items()))
    for words in ("a: no object", "b: almost no object", "c (30% of 10)", "d (70% of 10)"):
        assert words in told
    assert "e (" not in told


def test_a_fit_names_the_classes_that_lose_by_it() -> None:
    def make(*recalls: float) -> Part:
        return part(*(group(name, 10, recall=recall, side=80) for name, recall in zip("abc", recalls, strict=True)))

    first, lost = compare(make(0.9, 0.8, 0.5), make(0.95, 0.77, 0.49), Path("new.yaml"))
    assert first.startswith("new.yaml: 95.0%")
    assert "before 90.0%" in first
    assert "b (77% of 10)" in lost
    assert len(compare(make(0.9, 0.8, 0.5), make(0.9, 0.79, 0.6), Path("new.yaml"))) == 1
