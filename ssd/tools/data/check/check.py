"""The check of all datasets of a configuration."""

from collections.abc import Sequence
from typing import NamedTuple

from yacs.config import CfgNode

from ssd.data.build import unite_class_names
from ssd.data.catalog import open_dataset
from ssd.data.datasets import DetectionDataset
from ssd.tools.data.check.images import ImageFinding, check_images, find_duplicates
from ssd.tools.data.check.objects import count_objects
from ssd.tools.data.check.problem import OVERLAP, UNUSABLE, CollectErrors, Problem, to_problem
from ssd.tools.data.check.report import DataReport, SetReport
from ssd.utils.errors import ConfigError, SSDError


class _OpenSet(NamedTuple):
    name: str
    role: str
    dataset: DetectionDataset | None
    problems: list[Problem]


def check_data(cfg: CfgNode) -> DataReport:
    """Check the datasets of DATASETS.TRAIN and TEST: annotations, images, and what the sets have in common.

    It goes on after an error; only what cannot be used at all ends the check of its dataset.

    Raises:
        ConfigError: the configuration names no dataset.
    """
    if not cfg.DATASETS.TRAIN and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TRAIN and DATASETS.TEST are empty; name a dataset to check in one of them")
    problems: list[Problem] = []
    train_sets = _open_sets(cfg, "train", None, problems)
    class_names = next((item.dataset.class_names for item in train_sets if item.dataset is not None), None)
    test_sets = _open_sets(cfg, "test", class_names, problems)
    findings = [_check_set(item) for item in (*train_sets, *test_sets)]
    reports = [report for report, _ in findings]
    train_images = [images for report, images in findings if report.role == "train"]
    for report, images in findings:
        if report.role == "test":
            problems += _find_overlap(images, train_images)
    return DataReport(tuple(reports), tuple(problems))


def _open_sets(cfg: CfgNode, role: str, class_names: Sequence[str] | None, problems: list[Problem]) -> list[_OpenSet]:
    """The datasets of a role, with the problems of their annotations; ``problems`` gets those between them."""
    names = list(dict.fromkeys(cfg.DATASETS[role.upper()]))
    sets = [_open_set(cfg, name, role, class_names) for name in names]
    usable = {item.name: item.dataset for item in sets if item.dataset is not None}
    if class_names is None:
        try:
            unite_class_names(list(usable), list(usable.values()))
        except ConfigError as error:
            problems.append(to_problem(error, "different classes"))
    return sets


def _open_set(cfg: CfgNode, name: str, role: str, class_names: Sequence[str] | None) -> _OpenSet:
    policy, dataset = CollectErrors(), None
    is_train = role == "train"
    try:
        dataset = open_dataset(name, cfg.DATASETS.CUSTOM, policy, is_train=is_train, class_names=class_names)
    except SSDError as error:
        policy.problems.append(to_problem(error, UNUSABLE))
    return _OpenSet(name, role, dataset, policy.problems)


def _check_set(item: _OpenSet) -> tuple[SetReport, list[ImageFinding]]:
    if item.dataset is None:
        return SetReport(item.name, item.role, 0, 0, None, tuple(item.problems)), []
    images = check_images(item.dataset, item.name)
    problems = [*item.problems, *(image.problem for image in images if image.problem), *find_duplicates(images)]
    report = SetReport(
        item.name,
        item.role,
        num_listed=getattr(item.dataset, "num_listed", len(images)),  # a format from elsewhere lists what it has
        num_readable=sum(image.digest is not None for image in images),
        objects=count_objects(item.dataset),
        problems=tuple(problems),
    )
    return report, images


def _find_overlap(test_images: Sequence[ImageFinding], train_images: Sequence[Sequence[ImageFinding]]) -> list[Problem]:
    """Images that are tested on and trained on; the name of a file is no proof, its pixels are."""
    trained = {image.digest: image.name for images in train_images for image in images if image.digest}
    return [
        Problem(OVERLAP, image.name, "", f"{image.name}, to be tested on, has the pixels of {trained[image.digest]}")
        for image in test_images
        if image.digest in trained
    ]
