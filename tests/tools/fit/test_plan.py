"""Decisions of a plan: input, priors, schedule and risks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssd.config import load_config
from ssd.modeling.detector import build_detection_model
from ssd.structures.boxes import height_width
from ssd.tools.data.content import Content, Record
from ssd.tools.fit.facts import Facts
from ssd.tools.fit.plan import (
    Choice,
    Schedule,
    choose_priors,
    find_risks,
    input_size,
    list_inputs,
    plan_schedule,
    wanted_steps,
)
from ssd.tools.fit.start import DETECTOR, IMAGENET, RANDOM, Start
from ssd.tools.fit.timing import Timing

START, LONG = Start(IMAGENET, ""), Schedule(1000, 250, 600.0)


def make_facts(images: Sequence[Sequence[tuple[int, float]]], *, num_classes: int = 2, **changes: Any) -> Facts:
    """Facts of images of 640 x 480 pixels with squares (label, side as a share of that of the image), all in train and
    in test."""
    records = []
    for number, objects in enumerate(images):
        width = np.array([640 * share for _, share in objects])
        height = np.array([480 * share for _, share in objects])
        boxes = np.stack([0 * width, 0 * width, width, height], axis=1).astype(np.float32).reshape(-1, 4)
        labels = np.array([label for label, _ in objects], dtype=np.int64)
        path = Path(f"{number}.jpg")
        records.append(Record(path.name, path, 640, 480, boxes, labels, np.zeros(len(labels), dtype=bool)))
    names = tuple(f"class {label}" for label in range(1, num_classes + 1))
    rows = list(range(len(records)))
    content = Content(names, records, {"train": rows, "test": rows})
    numbers = dict.fromkeys(("num_leaks", "num_alike", "num_mistakes"), 0)
    values: dict[str, Any] = {"entries": None, "grouped": "", **numbers, **changes}
    return Facts(Path("photos"), "voc", [], content, ("train",), ("test",), **values)


@pytest.mark.parametrize("side", [192, 256, 320, 512])
@pytest.mark.parametrize("image_size", [(480, 640), (640, 480), (600, 600), (100, 900)])
def test_the_input_has_the_shape_of_the_images_and_the_area_of_the_square(side, image_size):
    height, width = input_size(image_size, side)
    assert height % 32 == width % 32 == 0
    assert height * width == pytest.approx(side**2, rel=0.3)
    assert width / height == pytest.approx(min(max(image_size[1] / image_size[0], 0.5), 2), rel=0.25)


def inputs(facts: Facts, start: Start = START, given: Sequence[str] = (), **options: bool) -> list[tuple[Any, int]]:
    """Side of the square of each input and frozen stages; the side is None if it is not chosen."""
    found = []
    for choice in list_inputs(facts, start, given, **{"has_limit": True, **options}):
        keys = dict(zip(choice.overrides[::2], choice.overrides[1::2], strict=True))
        size = keys.get("INPUT.IMAGE_SIZE")
        found.append((size and round((size[0] * size[1]) ** 0.5), keys.get("MODEL.BACKBONE.FREEZE_STAGES", 0)))
    return found


def test_inputs_to_try() -> None:
    large, small = make_facts([[(1, 0.3)]] * 9), make_facts([[(1, 0.3), (2, 0.04)]] * 9)
    assert inputs(large, has_limit=False) == [(333, 0)]
    assert inputs(large) == [(333, 0), (333, 2), (254, 0), (254, 2), (189, 0), (189, 2)]
    assert [side for side, _ in inputs(small, Start(RANDOM, ""))] == [411, 333, 254, 189]
    assert {frozen for _, frozen in inputs(small, Start(RANDOM, ""))} == {0}
    assert inputs(small, Start(DETECTOR, "")) == [(None, 0), (None, 2)]
    assert inputs(small, given=["INPUT.IMAGE_SIZE"], has_limit=False) == [(None, 0)]


def test_priors_are_scaled_or_fitted() -> None:
    cfg = load_config("modern/own_data_random.yaml", ["INPUT.IMAGE_SIZE", (224, 288), "MODEL.NUM_CLASSES", 3])

    def sizes(share: float, *given: str) -> list[float]:
        planned = cfg.with_overrides(choose(share, START, given).overrides)
        build_detection_model(planned, pretrained=False)
        assert planned.MODEL.NECK.STRIDES[0] == (4 if 254 * share < 16 and "MODEL.BACKBONE.NAME" not in given else 8)
        return list(planned.MODEL.PRIORS.MIN_SIZES)

    def choose(share: float, start: Start, given: Sequence[str]) -> Choice:
        facts = make_facts([[(1, share)]])
        return choose_priors(cfg, facts, facts.training_boxes(), start, given)

    scale = (224 * 288) ** 0.5 / 320
    assert sizes(44 / 320) == pytest.approx([size * scale for size in cfg.MODEL.PRIORS.MIN_SIZES], abs=0.06)
    assert sizes(12 / 320, "MODEL.BACKBONE.NAME")[0] < 20 * scale - 1
    fine = [size * scale for size in (10, 20, 44, 88, 160, 240)]
    assert sizes(12 / 320, "MODEL.DEVICE") == pytest.approx(fine, abs=0.06)
    assert sizes(5 / 320)[0] < 10 * scale - 1
    for start, given in ((Start(DETECTOR, ""), []), (START, ["MODEL.PRIORS.MIN_SIZES"])):
        assert choose(0.1, start, given).overrides == ()


@pytest.mark.parametrize(("num_images", "steps"), [(20, 600), (320, 600), (1600, 3000), (10**6, 20000)])
def test_steps_without_a_limit(num_images: int, steps: int) -> None:
    assert wanted_steps(num_images, 16) == steps
    assert plan_schedule(Timing(1.0, 0.1), steps, 10, None).steps == steps


@pytest.mark.parametrize("seconds", [30, 100, 600, 3000])
@pytest.mark.parametrize("num_test", [10, 1000])
def test_a_schedule_keeps_the_limit_of_time(seconds: int, num_test: int) -> None:
    timing = Timing(0.5, 0.01)
    schedule = plan_schedule(timing, 1000, num_test, seconds)
    assert 1 <= schedule.steps <= 3000
    assert schedule.seconds <= seconds or schedule.steps == 1
    assert schedule.seconds > 0.9 * seconds - 0.5 or schedule.steps == 3000
    if schedule.evaluation_interval:
        assert schedule.steps / schedule.evaluation_interval <= 4
    elif num_test == 10:
        assert schedule.steps < 100


@pytest.mark.parametrize(
    ("images", "changes", "words"),
    [
        ([[(1, 0.3), (2, 0.3)]] * 200, {}, ()),
        ([[(1, 0.3)]] * 190 + [[(2, 0.3)]] * 10, {}, ("class 2 (10)",)),
        ([[(1, 0.3)] * 4] * 160 + [[(2, 0.3)]] * 40, {}, ("rare", "class 2 (40)")),
        ([[(1, 0.3), (2, 0.3)]] * 60, {}, ("60 images",)),
        ([[(1, 0.3), (2, 0.02)]] * 200, {}, ("16 pixels", "class 2")),
        ([[(1, 0.3), (2, 0.3)]] * 200 + [[]] * 200, {}, ("200 of 400",)),
        ([[(1, 0.3), (2, 0.3)]] * 200, {"num_leaks": 7}, ("7 held-out images", "--resplit")),
        ([[(1, 0.3), (2, 0.3)]] * 200, {"num_alike": 190}, ("190 images look alike",)),
        ([[(1 + n % 80, 0.3)] for n in range(400)], {"num_classes": 80}, ("400 images of 80 classes cannot",)),
    ],
)
def test_risks(images: Any, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    cfg = load_config(IMAGENET)
    risks = find_risks(make_facts(images, **changes), cfg, START, LONG, 1000)
    assert len(risks) == bool(words)
    assert all(word in risks[0] for word in words)


def test_risks_of_the_start_and_the_time() -> None:
    facts, cfg = make_facts([[(1, 0.3), (2, 0.3)]] * 200), load_config(RANDOM)
    risks = find_risks(facts, cfg, Start(RANDOM, ""), Schedule(100, 25, 60.0), 600)
    assert [word in risk for word, risk in zip(("--minutes", "--start"), risks, strict=True)] == [True, True]
    assert height_width(cfg.INPUT.IMAGE_SIZE) == (320, 320)


def test_boxes_and_counts_of_facts() -> None:
    facts = make_facts([[(1, 0.5), (2, 0.25)], []])
    assert facts.count_objects(facts.train) == {"class 1": 1, "class 2": 1}
    first, second = facts.training_boxes()
    assert first.boxes.tolist() == [[0, 0, 0.5, 0.5], [0, 0, 0.25, 0.25]]
    assert (len(second.labels), facts.image_size) == (0, (480, 640))
