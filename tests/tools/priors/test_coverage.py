"""Coverage: matches by hand, and the closed form of the best-placed prior against all priors."""

import math

import pytest
import torch

from ssd.modeling.anchors.prior_box import level_priors
from ssd.structures.boxes import center_to_corner, pairwise_iou
from ssd.tools.priors.coverage import least_sure_size, match_boxes, shape_overlaps

# Four priors side by side, each 0.2 wide and high.
PRIORS = torch.tensor([[x, 0.4, x + 0.2, 0.6] for x in (0.0, 0.2, 0.4, 0.6)])


def test_what_each_box_gets() -> None:
    boxes = torch.tensor([[[0.0, 0.4, 0.2, 0.6], [0.4, 0.4, 0.8, 0.6], [0.0, 0.0, 0.0, 0.0]]])
    found = match_boxes(boxes, torch.tensor([[1, 2, 0]]), PRIORS, 0.5)
    # The first is prior 0. The second is priors 2 and 3 together: IoU 1/2 with each. The third is padding.
    torch.testing.assert_close(found.best_iou, torch.tensor([[1.0, 0.5, 0.0]]))
    assert found.best_prior[0, :2].tolist() == [0, 2]
    assert found.num_positives.tolist() == [[1, 2, 0]]
    assert found.is_forced.tolist() == [[False, False, False]]
    assert found.positives.tolist() == [1, 0, 1, 1]


def test_a_box_that_no_prior_reaches_has_its_own_prior_alone() -> None:
    small = torch.tensor([[[0.28, 0.48, 0.32, 0.52]]])  # 0.04 x 0.04 in prior 1: IoU 0.04
    found = match_boxes(small, torch.tensor([[1]]), PRIORS, 0.5)
    assert found.best_iou.item() == pytest.approx(0.04)
    assert (found.num_positives.item(), found.is_forced.item()) == (1, True)
    assert found.positives.tolist() == [0, 1, 0, 0]


def test_a_prior_that_another_box_takes_saves_nobody() -> None:
    """Two equal boxes: one is matched by the threshold, the other by force alone."""
    twins = torch.tensor([[0.2, 0.4, 0.4, 0.6]]).expand(1, 2, 4)
    found = match_boxes(twins, torch.tensor([[1, 1]]), PRIORS, 0.5)
    assert found.best_iou.tolist() == [[1.0, 1.0]]
    assert found.is_forced.tolist() == [[False, True]]
    assert int(found.positives.sum()) == 2


def test_no_objects() -> None:
    found = match_boxes(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), PRIORS, 0.5)
    assert found.best_iou.shape == (2, 0)
    assert found.positives.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("stride", [(8, 8), (12, 20)])
def test_the_nearest_prior_of_a_shape_is_its_best(stride: tuple[int, int]) -> None:
    size, cells = (120, 200), (120 // stride[0], 200 // stride[1])
    shapes = [(10.0, 10.0), (30.0, 15.0), (150.0, 90.0)]
    grid = level_priors(size, cells, stride, shapes).float()
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, 2, generator=generator).sort(dim=1).values
    boxes = corners.flatten(1)
    by_prior = pairwise_iou(boxes, center_to_corner(grid)).view(200, -1, len(shapes))
    centers = grid.view(*cells, len(shapes), 4)
    relative = torch.tensor(shapes) / torch.tensor([200, 120])
    found = shape_overlaps(boxes, centers[0, :, 0, 0], centers[:, 0, 0, 1], relative)
    torch.testing.assert_close(found, by_prior.amax(dim=1))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_least_size_that_is_sure_of_a_match(threshold: float) -> None:
    side = least_sure_size(threshold)
    between = torch.tensor([[0.0, 0.0, side, side]])
    prior = between + 0.5  # half a stride away along both axes, the worst place
    assert pairwise_iou(between, prior).item() == pytest.approx(threshold, abs=1e-6)
    assert least_sure_size(1.0) == math.inf
