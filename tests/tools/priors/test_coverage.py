import math
from dataclasses import replace

import pytest
import torch

from ssd.config import load_config
from ssd.structures.boxes import corner_to_center, pairwise_iou
from ssd.tools.priors.coverage import ImageBoxes, make_part, measure
from ssd.tools.priors.layout import Layout, make_layout
from ssd.tools.priors.verdict import min_sure_size

SMALL = ["MODEL.BACKBONE.NAME", "tiny", "INPUT.IMAGE_SIZE", 100, "MODEL.PRIORS.MIN_SIZES", [20, 40, 60, 80]]
SMALL += ["MODEL.PRIORS.MAX_SIZES", [40, 60, 80, 99], "MODEL.PRIORS.ASPECT_RATIOS", [[2]] * 4]


def four_priors() -> Layout:
    """One level of four priors side by side, each 0.2 wide and high, of an input of 100 pixels."""
    layout = make_layout(load_config(None, SMALL))
    levels = replace(layout.levels, feature_maps=[(1, 4)], strides=[(100, 20)], shapes=[[(20, 20)]])
    corners = torch.tensor([[x, 0.4, x + 0.2, 0.6] for x in (0.0, 0.2, 0.4, 0.6)])
    return replace(layout, levels=levels, priors=corner_to_center(corners), iou_threshold=0.499)


def image(*boxes: list[float], labels: list[int]) -> ImageBoxes:
    return ImageBoxes(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64))


def test_matches() -> None:
    # The first is prior 0. The second is priors 2 and 3 together: IoU 1/2 with each. The last is in prior 1: IoU 0.04.
    two = image([0.0, 0.4, 0.2, 0.6], [0.4, 0.4, 0.8, 0.6], labels=[1, 2])
    found = measure([two, image(labels=[]), image([0.28, 0.48, 0.32, 0.52], labels=[1])], four_priors())
    torch.testing.assert_close(found.best_iou, torch.tensor([1.0, 0.5, 0.04]))
    assert found.num_positives.tolist() == [1, 2, 1]
    assert found.is_forced.tolist() == [False, False, True]
    assert found.is_covered.tolist() == [True, True, False]
    assert (found.num_images, found.level_positives, found.best_level.tolist()) == (3, [4], [0, 0, 0])
    torch.testing.assert_close(found.sides, torch.tensor([20.0, math.sqrt(800), 4.0]))


def test_a_prior_that_another_object_takes() -> None:
    """Two equal objects: one is matched by the threshold, the other by force only."""
    twin = [0.2, 0.4, 0.4, 0.6]
    found = measure([image(twin, twin, labels=[1, 1])], four_priors())
    assert found.is_covered.all()
    assert (found.is_forced.tolist(), found.level_positives) == ([False, True], [2])


def test_groups() -> None:
    boxes = [[0.0, 0.4, 0.2, 0.6], [0.4, 0.4, 0.78, 0.6], [0.28, 0.48, 0.32, 0.52]]
    part = make_part(measure([image(*boxes, labels=[1, 2, 2])], four_priors()), ["background", "cat", "dog"])
    assert [(group.name, group.recall) for group in part.by_class] == [("dog", 0.5), ("cat", 1)]
    assert [group.name for group in part.by_size] == ["below 8", "16 to 32"]
    assert [(group.name, group.num_objects) for group in part.by_aspect] == [("near 1:1", 2), ("1.4:1 to 2:1", 1)]
    assert (part.total.num_objects, part.total.num_forced, part.total.positives) == (3, 1, 1)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_smallest_size_that_is_sure_of_a_match(threshold: float) -> None:
    side = min_sure_size(threshold)
    between = torch.tensor([[0.0, 0.0, side, side]])
    prior = between + 0.5  # half a stride away along both axes, the worst place
    assert pairwise_iou(between, prior).item() == pytest.approx(threshold, abs=1e-6)
    assert min_sure_size(1.0) == math.inf
