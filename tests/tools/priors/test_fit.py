from dataclasses import replace

import pytest
import torch

from ssd.config import Config, load_config
from ssd.modeling.anchors.prior_box import level_priors
from ssd.structures.boxes import center_to_corner, pairwise_iou
from ssd.tools.priors import fit as fitting
from ssd.tools.priors.coverage import Coverage, ImageBoxes, measure
from ssd.tools.priors.fit import fit_priors, make_fit_boxes, misplacement
from ssd.tools.priors.layout import PriorSizes, make_layout, with_sizes

SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "INPUT.IMAGE_SIZE", 128, "MODEL.PRIORS.MIN_SIZES", [24, 40, 64, 90]),
    *("MODEL.PRIORS.MAX_SIZES", [40, 64, 90, 120], "MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
]


def config(*overrides: object) -> Config:
    return load_config(None, [*SMALL, *overrides])


def boxes_of(*kinds: tuple[float, float], count: int = 40, seed: int = 0) -> list[ImageBoxes]:
    """Images of one object a kind, (width, height) in pixels of 128, anywhere inside; labels from 1."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor(kinds) / 128
    images = []
    for _ in range(count):
        low = torch.rand(len(kinds), 2, generator=generator) * (1 - size)
        images.append(ImageBoxes(torch.cat([low, low + size], dim=1), torch.arange(1, len(kinds) + 1)))
    return images


def fit(cfg: Config, images: list[ImageBoxes], max_ratios: int | None = None) -> tuple[PriorSizes, Coverage]:
    layout = make_layout(cfg)
    fitted = fit_priors(layout, make_fit_boxes([images], layout.levels.image_size), max_ratios)
    return fitted, measure(images, make_layout(with_sizes(cfg, fitted)))


def test_small_objects_get_a_small_prior_and_the_others_keep_theirs() -> None:
    images = boxes_of((13, 13), (70, 70))
    before = measure(images, make_layout(config()))
    fitted, after = fit(config(), images)
    assert before.is_covered[before.labels == 1].float().mean() < 0.2
    assert after.is_covered[after.labels == 1].float().mean() > 0.5
    assert after.is_covered[after.labels == 2].all()
    assert 11 <= fitted.min_sizes[0] <= 16
    assert set(after.best_level[after.labels == 1].tolist()) == {0}
    assert set(after.best_level[after.labels == 2].tolist()) <= {1, 2}


def test_large_objects_stay_with_the_levels_for_them() -> None:
    """A smaller prior of a coarse level would overlap the small objects too; they are not its own."""
    fitted, after = fit(config(), boxes_of((20, 20), (30, 30)))
    layout = make_layout(config())
    for level in range(4):
        low, high = fitting.size_bounds(layout, level)
        small, max_size = fitted.min_sizes[level], fitted.max_sizes[level]
        assert all(low - 0.5 <= side <= high + 0.5 for side in (small, (small * max_size) ** 0.5))
        assert small == round(small, 1)
    assert fitted.min_sizes[2:] == layout.sizes.min_sizes[2:]
    assert fitted.max_sizes[2:] == layout.sizes.max_sizes[2:]
    assert set(after.best_level.tolist()) == {0}


def test_long_objects_get_their_ratio() -> None:
    fitted, after = fit(config(), boxes_of((60, 15)))
    assert any(ratio in (3, 4) for ratio in fitted.aspect_ratios[0])
    assert all(len(ratios) == 1 for ratios in fitted.aspect_ratios)
    assert after.is_covered.float().mean() > 0.9


@pytest.mark.parametrize("most", [0, 2])
def test_the_number_of_ratios_is_limited(most: int) -> None:
    fitted, _ = fit(config("MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 4), boxes_of((50, 15), (20, 30)), most)
    assert max(map(len, fitted.aspect_ratios)) <= most


def test_pairs_and_whole_sizes_survive() -> None:
    ratios = [[[2, 0.5]], [[4, 9]], [], [2]]
    fitted, _ = fit(config("MODEL.PRIORS.ASPECT_RATIOS", ratios), boxes_of((40, 20)))
    assert fitted.aspect_ratios[1:] == ratios[1:]


def test_the_worth_of_an_overlap() -> None:
    worth = fitting.overlap_worth(torch.tensor([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0]), 0.5)
    torch.testing.assert_close(worth, torch.tensor([0, 0, 0.125, 0.75, 0.875, 1, 1]))


def test_misplacement_in_octaves() -> None:
    found = misplacement(torch.tensor([12.0, 48, 240]), make_layout(config()).sizes)
    # Levels for (0, 40), 40 to 64, 64 to 90, and (90, infinity): distances of 12, 48 and 240.
    assert found[0].tolist() == pytest.approx([0, 0.2630, 2.5850], abs=1e-4)
    assert found[1].tolist() == pytest.approx([1.7370, 0, 1.9069], abs=1e-4)
    assert found[3].tolist() == pytest.approx([2.9069, 0.9069, 0], abs=1e-4)


@pytest.mark.parametrize("stride", [(8, 8), (12, 20)])
def test_the_nearest_prior_of_a_shape_is_its_best(stride: tuple[int, int]) -> None:
    size, cells = (120, 200), (120 // stride[0], 200 // stride[1])
    shapes = [(10.0, 10.0), (30.0, 15.0), (150.0, 90.0)]
    grid = level_priors(size, cells, stride, shapes).float()
    boxes = torch.rand(200, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values.flatten(1)
    by_prior = pairwise_iou(boxes, center_to_corner(grid)).view(200, -1, len(shapes))
    centers = grid.view(*cells, len(shapes), 4)
    relative = torch.tensor(shapes) / torch.tensor([200, 120])
    found = fitting.shape_overlaps(boxes, centers[0, :, 0, 0], centers[:, 0, 0, 1], relative)
    torch.testing.assert_close(found, by_prior.amax(dim=1))


def test_weights_are_fair_to_sets_and_classes() -> None:
    rare = ImageBoxes(torch.tensor([[0.1, 0.1, 0.5, 0.6]] * 5), torch.tensor([1, 1, 1, 1, 2]))
    empty = ImageBoxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    boxes = make_fit_boxes([[rare], [empty]], (128, 128))
    torch.testing.assert_close(boxes.weights, torch.tensor([0.5, 0.5, 0.5, 0.5, 1.0]) / 3)
    torch.testing.assert_close(boxes.sides, torch.full((5,), 128 * 0.2**0.5))
    assert len(make_fit_boxes([[rare]], (128, 128), 2).sides) == 2


def test_a_single_level() -> None:
    """It is for all sizes, and shares its objects with no other one."""
    whole = make_layout(config())
    lists = ("channels", "feature_maps", "strides", "shapes")
    levels = replace(whole.levels, **{name: getattr(whole.levels, name)[:1] for name in lists})
    sizes = PriorSizes(*(values[:1] for values in whole.sizes))
    layout = replace(whole, levels=levels, sizes=sizes, priors=whole.priors[: whole.level_sizes[0]])
    fitted = fit_priors(layout, make_fit_boxes([boxes_of((13, 13))], (128, 128)))
    assert [len(values) for values in fitted] == [1, 1, 1]
    assert 11 <= fitted.min_sizes[0] <= 16
