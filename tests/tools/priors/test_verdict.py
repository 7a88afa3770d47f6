"""What `ssd priors` says in words."""

from dataclasses import replace
from pathlib import Path

import torch

from ssd.tools.priors.groups import Group
from ssd.tools.priors.layout import Layout
from ssd.tools.priors.measure import Coverage
from ssd.tools.priors.report import Level, Part, PriorReport
from ssd.tools.priors.text import report_to_text
from ssd.tools.priors.verdict import compare, make_verdict

LAYOUT = Layout(
    image_size=(320, 320),
    feature_maps=[(20, 20)],
    strides=[(16, 16)],
    min_sizes=[60],
    max_sizes=[105],
    aspect_ratios=[[2]],
    clips_sizes=False,
    iou_threshold=0.5,
    priors=torch.zeros(0, 4),
)


def group(name: str, num_objects: int, *, recall: float, side: float) -> Group:
    return Group(name, num_objects, recall, median_iou=0.3, median_side=side, num_forced=0, positives=2.0)


def verdict(*classes: Group) -> str:
    sides = torch.cat([torch.full((item.num_objects,), item.median_side) for item in classes])
    total = group("all", len(sides), recall=0.9, side=80)
    part = Part(1, total, by_size=[total], by_aspect=[total], by_class=[*classes])
    coverage = Coverage(
        num_images=1,
        sizes=sides[:, None].expand(-1, 2),
        labels=torch.ones(len(sides), dtype=torch.int64),
        best_iou=torch.ones(len(sides)),
        best_level=torch.zeros(len(sides), dtype=torch.int64),
        num_positives=torch.ones(len(sides), dtype=torch.int64),
        is_forced=torch.zeros(len(sides), dtype=torch.bool),
        level_positives=[len(sides)],
        iou_threshold=0.5,
    )
    return " ".join(make_verdict({"data": part, "augmented": part}, coverage, LAYOUT, "Take a finer level"))


def test_a_small_class_asks_for_a_finer_level_however_few_it_has() -> None:
    """Sure of IoU 0.5 is a square from 2.72 strides on, 44 pixels here."""
    cells = group("cell", 95, recall=0.99, side=80)
    told = verdict(cells, group("platelet", 5, recall=0.5, side=23))
    assert (
        "5% of the objects have sides below 44 pixels, 2.7 strides of the finest level (16), most of platelet" in told
    )
    assert told.endswith("Take a finer level.")
    assert "finer level" not in verdict(cells, group("platelet", 5, recall=0.5, side=60))  # the shapes do not fit
    assert "finer level" not in verdict(cells, group("platelet", 5, recall=0.95, side=23))  # it is reached


def test_many_small_objects_do_too() -> None:
    assert "15% of the objects have sides below 44" in verdict(
        group("cell", 85, recall=0.99, side=80), group("platelet", 15, recall=0.95, side=23)
    )


def test_a_fit_names_the_classes_that_lose_by_it() -> None:
    def part(*recalls: float) -> Part:
        classes = [group(name, 10, recall=recall, side=80) for name, recall in zip("abc", recalls, strict=True)]
        return Part(1, classes[0], by_size=classes, by_aspect=classes, by_class=classes)

    first, lost = compare(part(0.9, 0.8, 0.5), part(0.95, 0.77, 0.49), Path("new.yaml"))
    assert first.startswith("new.yaml: 95.0% of the objects reach the threshold, before 90.0%; ")
    assert lost == "These lose by it: b (77% of 10)."
    assert len(compare(part(0.9, 0.8, 0.5), part(0.9, 0.79, 0.6), Path("new.yaml"))) == 1


def test_of_many_classes_the_worst_are_listed() -> None:
    classes = [group(f"kind {number}", 1, recall=number / 100, side=80) for number in range(23)]
    part = Part(1, classes[0], by_size=classes[:1], by_aspect=classes[:1], by_class=classes)
    level = Level(1, (20, 20), 16.0, [(60, 60), (80, 80)], 1200, best={"data": 1.0}, positives={"data": 1.0})
    text = report_to_text(PriorReport((320, 320), 0.5, [level], {"data": part}, ["Good."]))
    assert "  ... and 3 more classes\n" in text
    assert "kind 19" in text
    assert "kind 20" not in text
    few = replace(part, by_class=classes[:20])
    assert "more classes" not in report_to_text(PriorReport((320, 320), 0.5, [level], {"data": few}, []))
