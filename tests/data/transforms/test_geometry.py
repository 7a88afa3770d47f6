"""The fused warp against the four steps one by one, lufficc's recorded results, and properties of any draw."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from ssd.data.transforms import BatchTransform
from ssd.data.transforms.geometry import (
    MIN_IOUS,
    GeometricDraw,
    GeometricSteps,
    draw_crop,
    draw_expansion,
    draw_geometry,
    draw_jitter,
    is_crop_accepted,
    map_boxes,
    max_reduction,
    valid_area,
    warp_image,
)
from ssd.structures import Container

MEAN = (123, 117, 104)


def smooth_image(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def step_by_step(image, boxes, labels, draw, size):
    """Expand, crop, mirror and resize, each on its own."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = draw.rect
    left, top = max(-x1, 0), max(-y1, 0)
    canvas = np.empty((max(y2, height) + top, max(x2, width) + left, 3), np.uint8)
    canvas[:] = MEAN
    canvas[top : top + height, left : left + width] = image
    crop = canvas[y1 + top : y2 + top, x1 + left : x2 + left]
    boxes = boxes - (x1, y1, x1, y1)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    keep = ((centers > 0) & (centers < (x2 - x1, y2 - y1))).all(1)
    boxes = boxes[keep].clip(0, (x2 - x1, y2 - y1, x2 - x1, y2 - y1))
    if draw.mirror:
        crop = crop[:, ::-1]
        boxes = np.stack([x2 - x1 - boxes[:, 2], boxes[:, 1], x2 - x1 - boxes[:, 0], boxes[:, 3]], axis=1)
    boxes = boxes / (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
    return cv2.resize(np.ascontiguousarray(crop), (size[1], size[0])), boxes, labels[keep]


def network_input(image, draw, size) -> np.ndarray:
    """What the network sees, mean added again: the warp, and around ``valid_area`` the mean."""
    height, width = image.shape[:2]
    warped = torch.from_numpy(warp_image(image, draw, size)).permute(2, 0, 1)[None]
    area = Container(valid_area=torch.from_numpy(valid_area(width, height, draw, size))[None])
    pixels = BatchTransform(list(MEAN), [1, 1, 1])(warped, area)
    return pixels[0].permute(1, 2, 0).numpy() + np.float32(MEAN)


def random_boxes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    corners = np.sort(rng.uniform(0, 1, (rng.integers(1, 6), 2, 2)), axis=1) * (width, height)
    return corners.reshape(-1, 4).astype(np.float32)


def test_the_identity_is_cv2_resize() -> None:
    image = smooth_image(61, 97, seed=0)
    draw = GeometricDraw((0, 0, 97, 61), mirror=False)
    for size in ((32, 32), (120, 75), (61, 97), (300, 300)):
        warped = warp_image(image, draw, size)
        difference = warped.astype(int) - cv2.resize(image, (size[1], size[0]))
        assert np.abs(difference).max() <= 1
    np.testing.assert_array_equal(warp_image(image, draw, (61, 97)), image)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_cropped_sides_of_an_expanded_image_do_not_blend_with_the_border(mirror) -> None:
    """The crop leaves the image on the left alone; 60 x 50 pixels at three times the scale."""
    image = np.full((80, 100, 3), 250, np.uint8)
    image[:10], image[60:], image[:, 40:] = 0, 0, 0  # what is cropped off
    shown = network_input(image, GeometricDraw((-20, 10, 40, 60), mirror), (150, 180))
    if mirror:
        shown = shown[:, ::-1]
    assert (shown[:, 60:] == 250).all()
    assert (shown[:, :60] == MEAN).all()


@pytest.mark.parametrize("seed", range(60))
def test_one_warp_is_the_four_steps(seed) -> None:
    rng = np.random.default_rng(seed)
    width, height = rng.integers(40, 160, 2).tolist()
    image, boxes = smooth_image(height, width, seed), random_boxes(rng, width, height)
    labels = np.arange(len(boxes)) + 1
    draw, size = draw_geometry(width, height, boxes, rng), (90, 75)
    expected_image, expected_boxes, expected_labels = step_by_step(image, boxes, labels, draw, size)
    mapped, mapped_labels = map_boxes(boxes, labels, draw)
    np.testing.assert_allclose(mapped, expected_boxes, atol=1e-6)
    np.testing.assert_array_equal(mapped_labels, expected_labels)
    difference = np.abs(network_input(image, draw, size) - expected_image)
    blends = blends_with_the_border(draw, width, height, size)
    assert blends.mean() < 0.5
    assert difference[~blends].max() <= 1


def blends_with_the_border(draw, width, height, size) -> np.ndarray:
    """The ring of one pixel of the image where the four steps blend image and mean, and the warp does not."""
    x1, y1, x2, y2 = draw.rect
    x = x1 + (np.arange(size[1]) + 0.5) * (x2 - x1) / size[1]  # where the pixels of the input lie in the image
    y = y1 + (np.arange(size[0]) + 0.5) * (y2 - y1) / size[0]
    if draw.mirror:
        x = x[::-1]
    columns = ((np.abs(x) < 0.5) & (x1 < 0)) | ((np.abs(x - width) < 0.5) & (x2 > width))
    rows = ((np.abs(y) < 0.5) & (y1 < 0)) | ((np.abs(y - height) < 0.5) & (y2 > height))
    return rows[:, None] | columns


def test_boxes_whose_centre_is_left_out_are_dropped_with_their_labels() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 4, 12, 12], [18, 18, 22, 22], [0, 6, 12, 8]], dtype=np.float32)
    mapped, labels = map_boxes(boxes, np.array([1, 2, 3, 4]), GeometricDraw((6, 6, 20, 20), mirror=False))
    assert labels.tolist() == [2]  # the centres (5, 5), (20, 20) and (6, 7) are not strictly inside
    np.testing.assert_allclose(mapped, [[0, 0, 6 / 14, 6 / 14]], rtol=1e-6)


@pytest.mark.parametrize(
    ("rect", "reduction"),
    [
        ((0, 0, 599, 900), 1),
        ((0, 0, 600, 200), 1),
        ((0, 0, 600, 400), 2),
        ((-100, -90, 500, 310), 2),  # an expansion counts in full
        ((10, 10, 1210, 809), 2),
        ((10, 10, 1210, 810), 4),
        ((0, 0, 2400, 1600), 8),
        ((0, 0, 9000, 9000), 8),
    ],
)
def test_what_is_drawn_is_never_magnified_by_reduction(rect, reduction) -> None:
    assert max_reduction(GeometricDraw(rect, mirror=False), (200, 300)) == reduction


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rect", [(0, 0, 160, 120), (40, 16, 120, 88), (41, 17, 119, 83), (-30, -20, 130, 140)])
def test_a_reduced_image_is_shown_in_the_same_place(rect, mirror) -> None:
    """A ramp is the same at all sizes: the mean of a square is the value at its centre."""
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    full = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    reduced = full.reshape(60, 2, 80, 2, 3).mean(axis=(1, 3))
    draw, size = GeometricDraw(rect, mirror), (33, 39)
    left, top, right, bottom = np.rint(valid_area(160, 120, draw, size)).astype(int).tolist()
    inner = slice(top + 1, bottom - 1), slice(left + 1, right - 1)  # the edge is repeated, by half a pixel more
    for rounding in (np.floor, np.ceil):
        shown = warp_image(rounding(reduced).astype(np.uint8), draw, size, reduction=2)
        difference = shown[inner].astype(int) - warp_image(full, draw, size)[inner]
        assert np.abs(difference).max() <= 1


def test_crop_acceptance_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10]], dtype=np.float32)
    rects = np.array([[0, 0, 10, 5], [0, 0, 10, 6], [0, 0, 0, 10], [4, 4, 40, 40], [6, 6, 10, 10]])
    # IoU 0.5, 0.6, 0, 36/1360, 0.16; the first has the centre (5, 5) on its edge, the last leaves it out.
    assert is_crop_accepted(rects, boxes, 0.0).tolist() == [False, True, False, True, False]
    assert is_crop_accepted(rects, boxes, 0.1).tolist() == [False, True, False, False, False]
    assert is_crop_accepted(rects, boxes, 0.6).tolist() == [False, True, False, False, False]
    assert is_crop_accepted(rects, boxes, 0.7).tolist() == [False] * 5
    each = np.array([0.5, 0.7, 0.0, 0.0, 0.0])  # one threshold a crop
    assert is_crop_accepted(rects, boxes, each).tolist() == [False, False, False, True, False]


def test_crops_reach_the_edges_and_keep_the_aspect_ratio() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([[40, 30, 60, 70]], dtype=np.float32)
    rects = np.array([draw_crop((0, 0, 100, 100), boxes, rng) for _ in range(2000)])
    crops = rects[(rects != (0, 0, 100, 100)).any(axis=1)]
    sides = crops[:, 2:] - crops[:, :2]
    aspect = sides[:, 1] / sides[:, 0]
    assert ((crops >= 0) & (crops <= 100)).all()
    assert sides.min() >= 29
    assert ((aspect >= 0.47) & (aspect <= 2.1)).all()  # the bounds hold before rounding to pixels
    # lufficc's crop starts at 1 or later wherever there is room (compatibility: full range here).
    assert (crops[sides[:, 0] < 98, 0] == 0).any()
    assert (crops[:, 2] >= 99).any()


def plain_crop(canvas, boxes, integers, uniform, place, modes=MIN_IOUS):
    """SSD, Sec. 2.2, trial by trial; ``place`` draws the left or the top from the room there is."""
    left, top, right, bottom = canvas
    width, height = right - left, bottom - top
    while True:
        min_iou = modes[integers(len(modes))]
        if min_iou is None:
            return canvas
        for _ in range(50):
            w, h = uniform(0.3 * width, width), uniform(0.3 * height, height)
            if not 0.5 <= h / w <= 2:
                continue
            x, y = left + place(width - w), top + place(height - h)
            rect = int(x), int(y), int(x + w), int(y + h)
            if is_crop_accepted(np.array([rect]), boxes, min_iou)[0]:
                return rect


def best_ious(rects, boxes) -> np.ndarray:
    return box_iou(*(torch.tensor(one, dtype=torch.float64) for one in (rects, boxes))).amax(dim=1).numpy()


@pytest.mark.parametrize(
    ("canvas", "boxes"),
    [
        ((0, 0, 500, 375), [[40, 30, 200, 300], [300, 100, 320, 130]]),
        ((0, 0, 100, 300), [[20, 30, 80, 280]]),  # narrow: few trials have an allowed aspect ratio
        ((0, 0, 90, 90), [[1, 1, 89, 89], [5, 5, 80, 70]]),  # all modes find a crop
    ],
)
def test_crops_are_distributed_as_those_of_a_plain_loop(canvas, boxes) -> None:
    count = 1500
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    boxes = np.array(boxes, dtype=np.float64)
    fused = np.array([draw_crop(canvas, boxes, rngs[0]) for _ in range(count)])
    draws = rngs[1].integers, rngs[1].uniform, lambda room: rngs[1].uniform(0, room)
    plain = np.array([plain_crop(canvas, boxes, *draws) for _ in range(count)])
    # How often the whole canvas stays, where the crops lie, and how often they overlap an object by how much.
    thresholds = np.array([[0.1], [0.3], [0.5], [0.7], [0.9]])
    statistics = [
        np.stack([(rects == canvas).all(axis=1), *rects.T, *(best_ious(rects, boxes) >= thresholds)]).astype(float)
        for rects in (fused, plain)
    ]
    means, deviations = (np.array([getattr(rows, name)(axis=1) for rows in statistics]) for name in ("mean", "std"))
    error = np.sqrt((deviations**2).sum(axis=0) / count)
    assert (np.abs(means[0] - means[1]) < 4 * error + 1e-9).all()


def test_expansion_is_up_to_four_times_a_side() -> None:
    rng = np.random.default_rng(0)
    rects = np.array([draw_expansion(50, 40, rng) for _ in range(1000)])
    assert ((rects[:, :2] <= 0) & (rects[:, 2:] >= (50, 40))).all()
    widths = rects[:, 2] - rects[:, 0]
    assert 190 <= widths.max() <= 200
    assert 50 <= widths.min() <= 53


def test_without_boxes_there_is_no_crop_but_expansion_and_mirror() -> None:
    draws = [draw_geometry(50, 40, np.empty((0, 4)), np.random.default_rng(seed)) for seed in range(100)]
    assert all(x1 <= 0 and y1 <= 0 and x2 >= 50 and y2 >= 40 for x1, y1, x2, y2 in (draw.rect for draw in draws))
    assert 30 <= sum(draw.rect == (0, 0, 50, 40) for draw in draws) <= 70
    assert 30 <= sum(draw.mirror for draw in draws) <= 70
    boxes, labels = map_boxes(np.empty((0, 4), np.float32), np.empty(0, np.int64), draws[0])
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


# Recorded results of lufficc/SSD. The draws are replayed in its order from its generator, numpy's RandomState.


@pytest.fixture(scope="module")
def golden(goldens):
    return dict(np.load(goldens / "lufficc" / "transforms.npz"))


def check_against(golden, case: str, draw: GeometricDraw) -> None:
    x1, y1, x2, y2 = draw.rect
    height, width = golden[f"{case}_image_shape"][:2].tolist()
    assert (x2 - x1, y2 - y1) == (width, height)
    image = network_input(golden["image"], draw, (height, width))  # at scale 1 there is no interpolation
    if height * width * 3 > 30000:
        image = image[::4, ::4]  # as it was stored
    np.testing.assert_array_equal(image, golden[f"{case}_image"])
    boxes, labels = map_boxes(golden["boxes"], golden["labels"], draw)
    np.testing.assert_allclose(boxes * (width, height, width, height), golden[f"{case}_boxes"], atol=1e-4)
    np.testing.assert_array_equal(labels, golden[f"{case}_labels"])


@pytest.mark.parametrize("seed", range(6))
def test_golden_expand(golden, seed) -> None:
    random, (height, width) = np.random.RandomState(seed), golden["image"].shape[:2]
    rect = (0, 0, width, height)
    if random.randint(2) == 0:
        ratio = random.uniform(1, 4)
        left = int(random.uniform(0, width * ratio - width))
        top = int(random.uniform(0, height * ratio - height))
        rect = (-left, -top, int(width * ratio) - left, int(height * ratio) - top)
    check_against(golden, f"expand_seed{seed}", GeometricDraw(rect, mirror=False))


@pytest.mark.parametrize("seed", range(3))
def test_golden_mirror(golden, seed) -> None:
    height, width = golden["image"].shape[:2]
    mirror = bool(np.random.RandomState(seed).randint(2))
    check_against(golden, f"mirror_seed{seed}", GeometricDraw((0, 0, width, height), mirror=mirror))


@pytest.mark.parametrize("seed", range(10))
def test_golden_crop(golden, seed) -> None:
    """The replay has lufficc's two faults, which draw_crop has not: no mode 0.5, and left and top start at 1."""
    random, boxes = np.random.RandomState(seed), golden["boxes"]
    height, width = golden["image"].shape[:2]
    modes = [mode for mode in MIN_IOUS if mode != 0.5]
    rect = plain_crop((0, 0, width, height), boxes, random.randint, random.uniform, random.uniform, modes)
    check_against(golden, f"crop_seed{seed}", GeometricDraw(rect, mirror=False))


def test_steps_can_be_left_out() -> None:
    boxes, whole = np.array([[10.0, 10, 30, 30]]), np.array([0, 0, 50, 40])

    def draws(**steps: bool) -> tuple[np.ndarray, set[bool]]:
        found = [draw_geometry(50, 40, boxes, np.random.default_rng(i), GeometricSteps(**steps)) for i in range(60)]
        return (np.array([draw.rect for draw in found]) - whole) * (-1, -1, 1, 1), {draw.mirror for draw in found}

    growth, mirrors = draws(expand=False, crop=False)
    assert (not growth.any(), mirrors) == (True, {False, True})
    assert draws(mirror=False)[1] == {False}
    growth, _ = draws(crop=False)
    assert growth.min() >= 0 < growth.max()
    growth, _ = draws(expand=False)
    assert growth.min() < 0 >= growth.max()


def test_jitter_by_hand() -> None:
    """Objects grow by the factor of scale, in the middle; shares of the shift are of the network input."""
    rng, steps = np.random.default_rng(0), GeometricSteps(scale=(2.0, 2.0))
    assert draw_jitter(80, 40, rng, steps) == (20, 10, 60, 30)
    assert draw_jitter(80, 40, rng, GeometricSteps(scale=(0.5, 0.5))) == (-40, -20, 120, 60)
    twice_as_wide = GeometricSteps(aspect=(4.0, 4.0))
    assert draw_jitter(80, 40, rng, twice_as_wide) == (20, -20, 60, 60)


def test_jitter_is_uniform_within_its_limits() -> None:
    steps = GeometricSteps(scale=(0.5, 1.5), aspect=(0.8, 1.25), shift=0.2)
    rng, sides = np.random.default_rng(0), np.array([8000, 6000])
    rects = np.array([draw_jitter(8000, 6000, rng, steps) for _ in range(2000)])
    extent = rects[:, 2:] - rects[:, :2]
    factors = sides / extent  # (N, 2): of width and height
    scale, aspect = np.sqrt(factors.prod(1)), np.log(factors[:, 0] / factors[:, 1])
    shift = ((rects[:, :2] + rects[:, 2:]) / 2 - sides / 2) / extent
    for values, low, high in ((scale, 0.5, 1.5), (aspect, np.log(0.8), np.log(1.25)), (shift, -0.2, 0.2)):
        assert low - 1e-3 <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-3
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.05)


def test_jitter_takes_the_place_of_expansion_and_crop() -> None:
    boxes, steps = np.array([[10.0, 10, 30, 30]]), GeometricSteps(shift=0.1)
    draws = [draw_geometry(50, 40, boxes, np.random.default_rng(i), steps) for i in range(60)]
    assert {draw.mirror for draw in draws} == {False, True}
    for draw in draws:
        x1, y1, x2, y2 = draw.rect
        assert (x2 - x1, y2 - y1) in {(50, 40), (51, 40), (50, 41), (51, 41)}  # on whole pixels
