"""Plan of a training: each decision with its reason, as lines and as overrides of config keys."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from ssd.config import Config, load_config
from ssd.structures.boxes import height_width
from ssd.tools.fit.facts import Facts
from ssd.tools.fit.start import DETECTOR, RANDOM, Start
from ssd.tools.fit.timing import Timing
from ssd.tools.priors.coverage import ImageBoxes, measure
from ssd.tools.priors.fit import fit_priors, make_fit_boxes
from ssd.tools.priors.layout import make_layout, with_sizes
from ssd.utils.errors import join_some

SIDES = (512, 416, 320, 256, 192)  # of a square with the area of the network input, in pixels
_USUAL_SIDE = 320
_FINE = "modern/parts/stride4.yaml"  # levels for small objects
_FROZEN = 2  # stages of a pretrained backbone that a short training leaves as they are: those of stride 2 and 4
_SMALL = 16  # pixels of a side; smaller objects are hard to find (two cells of the finest level)
_PLANNED = 0.9  # share of a limit of time: long trainings were up to 12% slower than the steps that are measured
_EPOCHS, _LEAST, _MOST = 30, 600, 20000  # of a training without a limit of time; steps
_ENOUGH = 0.5  # share of these steps that is enough at a larger input
_LONGEST = 3  # times these steps, with time left
_COVERED = 0.97  # share of the objects that priors must cover, or they are fitted
_MAX_BOXES = 1500  # that they are fitted to
_EVALUATIONS = 4  # in a training, if they take less than this share of it
_EVALUATION_SHARE = 0.1
# Seconds besides steps and evaluations, measured on two cores: start of processes, files, report and pictures.
_FIXED = 20.0
_FEW_OBJECTS, _FEW_IMAGES, _EMPTY = 30, 100, 0.2
_RARE = 0.2  # of the mean number of objects of a class
_PRIOR_KEYS = ("MIN_SIZES", "MAX_SIZES", "ASPECT_RATIOS")
WIDTH = 10  # of the topics in a printed plan


@dataclass(frozen=True)
class Choice:
    """One decision: a topic, its value and reason in words, and overrides of config keys."""

    topic: str
    text: str
    overrides: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """Length of a training."""

    steps: int
    evaluation_interval: int  # steps; 0 = at the end only
    seconds: float  # of everything, the plan included

    @property
    def save_interval(self) -> int:
        """Steps between checkpoints to continue from."""
        return math.ceil(self.steps / _EVALUATIONS)


@dataclass(frozen=True)
class Plan:
    """Decisions in the order of printing, the length of the training, and what may go wrong."""

    recipe: str  # config that it derives from
    choices: tuple[Choice, ...]
    schedule: Schedule
    risks: tuple[str, ...]

    @property
    def overrides(self) -> list[Any]:
        """Overrides of config keys, later ones winning."""
        return [item for choice in self.choices for item in choice.overrides]

    def __str__(self) -> str:
        lines = [(choice.topic, choice.text) for choice in self.choices] + [("risk", risk) for risk in self.risks]
        return "".join(f"{topic:<{WIDTH}}{text}\n" for topic, text in lines)


def describe_data(facts: Facts) -> Choice:
    """Say what the folder holds."""
    counts = facts.count_objects([*facts.train, *facts.test])
    ranked = sorted(counts, key=lambda name: -counts[name])
    named = join_some((f"{name} {counts[name]}" for name in ranked), 8)
    skipped = f"; {facts.num_mistakes} mistakes left out (see ssd data check)" if facts.num_mistakes else ""
    total, images = sum(counts.values()), len(facts.records([*facts.train, *facts.test]))
    text = f"{images} images, {total} objects of {len(counts)} classes ({named}), {facts.format_name}{skipped}"
    return Choice("data", text)


def describe_division(facts: Facts) -> Choice:
    """Say which images are trained on and tested on."""
    train, test = len(facts.records(facts.train)), len(facts.records(facts.test))
    text = f"{train} images to train on, {test} held out: "
    if facts.entries is not None:
        return Choice("split", f"{text}the folder's own ({', '.join(facts.train)}; {', '.join(facts.test)})")
    grouped = f"; kept together: {facts.grouped}" if facts.grouped else ""
    return Choice("split", f"{text}{train / (train + test):.0%}, with the same mix of classes{grouped}")


def list_inputs(facts: Facts, start: Start, given: Sequence[str], *, has_limit: bool) -> Iterator[Choice]:
    """Yield input sizes and frozen stages to try, the most accurate first.

    Objects of the smallest class set the size. With a limit of time smaller inputs follow, and for pretrained
    weights early stages that are frozen, which need no backward pass. ``given`` are the keys that the user sets.
    """
    shares = [value for value in _median_shares(facts).values() if value]
    wanted = next((side for side in reversed(SIDES) if side >= _USUAL_SIDE and side * min(shares) >= _SMALL), SIDES[0])
    reason = "usual" if wanted == _USUAL_SIDE else f"for small objects, of {min(shares) * wanted:.0f} pixels in it"
    sides = [side for side in SIDES if side <= wanted] if has_limit else [wanted]
    is_fixed = start.recipe == DETECTOR or "INPUT.IMAGE_SIZE" in given
    for side in [0] if is_fixed else sides:
        for frozen in (0, _FROZEN) if has_limit and start.recipe != RANDOM else (0,):
            keys: list[Any] = []
            text = "as given" if "INPUT.IMAGE_SIZE" in given else "as the detector was trained"
            if side:
                height, width = input_size(facts.image_size, side)
                keys = ["INPUT.IMAGE_SIZE", (height, width)]
                why = reason if side == wanted else "smaller, for enough steps within the time"
                text = f"{width} x {height} pixels, in the shape of the images; {why}"
            if frozen:
                keys += ["MODEL.BACKBONE.FREEZE_STAGES", frozen]
                text += f"; the first {frozen} stages stay as they are, to save time"
            yield Choice("input", text, tuple(keys))


def input_size(image_size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (height, width), multiples of 32, with the shape of images and about the area of a square."""
    aspect = min(max(image_size[1] / image_size[0], 0.5), 2)
    return tuple(32 * max(2, round(side * factor / 32)) for factor in (aspect**-0.5, aspect**0.5))


def choose_priors(cfg: Config, facts: Facts, boxes: Sequence[ImageBoxes], start: Start, given: Sequence[str]) -> Choice:
    """Scale the priors of the recipe to the input, and fit them if they cover too few objects.

    If most objects of a class are small in the input, add a finer level, unless keys of backbone or neck are ``given``.
    """
    if start.recipe == DETECTOR or any(key.startswith("MODEL.PRIORS") for key in given) or cfg.MODEL.PRIORS.SHAPES:
        return Choice("priors", "as the detector's" if start.recipe == DETECTOR else "as given")
    levels = []
    if _small_classes(facts, cfg) and not any(key.startswith(("MODEL.NECK", "MODEL.BACKBONE")) for key in given):
        fine = load_config(_FINE).MODEL
        sizes = [(f"MODEL.PRIORS.{name}", fine.PRIORS[name]) for name in _PRIOR_KEYS]
        levels = ["MODEL.NECK.STRIDES", fine.NECK.STRIDES, *chain.from_iterable(sizes)]
    scaled = _with_scaled_priors(cfg.with_overrides(levels))
    layout = make_layout(scaled)
    recall = _recall(boxes, scaled)
    text = f"those of the recipe cover {recall:.1%} of the objects"
    if recall < _COVERED:
        fitted = fit_priors(layout, make_fit_boxes([boxes], layout.levels.image_size, _MAX_BOXES))
        scaled = with_sizes(scaled, fitted)
        text = f"fitted to the objects: they cover {_recall(boxes, scaled):.1%} of them, before {recall:.1%}"
    strides = ", ".join(f"{stride:.0f}" for stride in layout.pixel_strides)
    keys = [(f"MODEL.PRIORS.{name}", scaled.MODEL.PRIORS[name]) for name in _PRIOR_KEYS]
    text += f"; levels of stride {strides}{', the first for small objects' if levels else ''}"
    return Choice("priors", text, (*levels[:2], *chain.from_iterable(keys)))


def wanted_steps(num_images: int, batch_size: int) -> int:
    """Return the steps of a training without a limit of time: 30 epochs, 600 to 20,000 steps."""
    return min(max(_EPOCHS * num_images // batch_size, _LEAST), _MOST)


def plan_schedule(timing: Timing, wanted: int, num_test: int, seconds_left: float | None) -> Schedule:
    """Return the schedule within a limit of time (None = the wanted steps), report included."""
    for evaluations in (_EVALUATIONS, 1):
        tail = _FIXED + (evaluations + 1) * timing.image * num_test  # the last one is for the report
        steps = wanted
        if seconds_left is not None:
            steps = min(max(int((_PLANNED * seconds_left - tail) / timing.step), 1), _LONGEST * wanted)
        if tail - _FIXED < _EVALUATION_SHARE * steps * timing.step:
            break
    interval = math.ceil(steps / evaluations) if evaluations > 1 else 0
    return Schedule(steps, interval, steps * timing.step + tail)


def is_enough(schedule: Schedule, wanted: int) -> bool:
    """Whether a schedule is long enough to prefer its input to a smaller one."""
    return schedule.steps >= _ENOUGH * wanted


def is_hopeless(schedule: Schedule, wanted: int, growth: float) -> bool:
    """Whether an input of ``growth`` times as many pixels as that of a schedule is not worth a measurement.

    Frozen stages may save half of the time.
    """
    return 2 * schedule.steps / growth < _ENOUGH * wanted


def describe_schedule(cfg: Config, schedule: Schedule, timing: Timing, num_images: int, limit: float | None) -> Choice:
    """Return the keys of a schedule, and say what it is and takes."""
    solver, steps = cfg.SOLVER, schedule.steps
    epochs = steps * solver.BATCH_SIZE / num_images
    usual = f"usual for {num_images} images" if steps == wanted_steps(num_images, solver.BATCH_SIZE) else "as given"
    why = usual if limit is None else f"what {limit:g} minutes allow"
    text = (
        f"{steps} steps of {solver.BATCH_SIZE} images ({epochs:.0f} epochs; {why}), {solver.OPTIMIZER}, learning rate "
        f"{solver.LR:g}, {solver.SCHEDULE}; about {schedule.seconds / 60:.1f} minutes with evaluation and report, at "
        f"{timing.step:.2f} s per step, measured here"
    )
    warmup = min(solver.WARMUP_ITERS, steps // 10)
    return Choice("training", text, ("SOLVER.MAX_ITER", steps, "SOLVER.WARMUP_ITERS", warmup))


def find_risks(facts: Facts, cfg: Config, start: Start, schedule: Schedule, wanted: int) -> list[str]:
    """Say what is likely to go wrong."""
    train, test = facts.records(facts.train), facts.count_objects(facts.test)
    counts, small = facts.count_objects(facts.train), _small_classes(facts, cfg)
    few = [f"{name} ({count})" for name, count in counts.items() if count < _FEW_OBJECTS]
    limit = max(_FEW_OBJECTS, _RARE * sum(counts.values()) / len(counts))
    rare = [f"{name} ({count})" for name, count in counts.items() if _FEW_OBJECTS <= count < limit]
    unseen = [name for name, count in counts.items() if count and not test[name]]
    num_empty = sum(not len(record.labels) for record in train)
    is_hopeless = len(counts) > 2 and len(few) > len(counts) / 2
    texts = {
        f"{len(train)} images of {len(counts)} classes cannot be learnt: {len(few)} classes have less than "
        f"{_FEW_OBJECTS} objects to learn from; label more, or join classes": is_hopeless,
        f"few objects to learn from: {join_some(few, 5)}": few and not is_hopeless,
        f"rare beside the other classes: {join_some(rare, 5)}; they are learnt last, so look at their own AP and label "
        "more of them": rare and not is_hopeless,
        f"{len(train)} images to train on are few, and the metrics of {len(facts.records(facts.test))} held-out ones "
        "are uncertain": len(train) < _FEW_IMAGES,
        f"half of the objects have less than {_SMALL} pixels in the network input: {join_some(small, 5)}; enlarge "
        "INPUT.IMAGE_SIZE": small,
        f"no held-out image has an object of {join_some(unseen, 5)}, so nothing measures these": unseen,
        f"{num_empty} of {len(train)} training images have no object; if they are not labelled yet, remove them: they "
        "teach that nothing is there": num_empty > _EMPTY * len(train),
        f"{facts.num_leaks} held-out images are versions or near duplicates of training images, so the metrics are too "
        "good; --resplit splits again": facts.num_leaks,
        f"{facts.num_alike} images look alike, so the metrics are too good, and nothing else is learnt; take "
        "photographs that differ": facts.num_alike,
        f"{schedule.steps} steps are short, {wanted} are usual for these images: more --minutes": not is_enough(
            schedule, wanted
        ),
        "random weights: trained ones often detect better after as many steps: --start FILE, URL or name of `ssd "
        "models`": start.recipe == RANDOM,
    }
    return [text for text, applies in texts.items() if applies]


def _small_classes(facts: Facts, cfg: Config) -> list[str]:
    """Return the names of the classes whose objects mostly have less than _SMALL pixels in the input."""
    side = math.sqrt(math.prod(height_width(cfg.INPUT.IMAGE_SIZE)))
    return [name for name, share in _median_shares(facts).items() if 0 < share * side < _SMALL]


def _with_scaled_priors(cfg: Config) -> Config:
    """Scale MIN_SIZES and MAX_SIZES from the square of the recipe to the area of the input."""
    factor = math.sqrt(math.prod(height_width(cfg.INPUT.IMAGE_SIZE))) / _USUAL_SIDE
    priors = cfg.MODEL.PRIORS
    sizes = {name: [round(size * factor, 1) for size in priors[name]] for name in ("MIN_SIZES", "MAX_SIZES")}
    return cfg.with_overrides([item for name, value in sizes.items() for item in (f"MODEL.PRIORS.{name}", value)])


def _recall(boxes: Sequence[ImageBoxes], cfg: Config) -> float:
    return measure(boxes, make_layout(cfg)).is_covered.float().mean().item()


def _median_shares(facts: Facts) -> dict[str, float]:
    """Return the median side of the objects of each class as a share of that of their image; 0 = no object."""
    images = facts.training_boxes()
    labels = torch.cat([image.labels for image in images])
    boxes = torch.cat([image.boxes for image in images])
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    by_class = [sides[labels == label] for label in range(1, len(facts.content.class_names) + 1)]
    medians = [own.median().item() if len(own) else 0.0 for own in by_class]
    return dict(zip(facts.content.class_names, medians, strict=True))
