import itertools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from ssd.inference.tiling import OVERLAP, Corners, merge_views, tile_corners
from ssd.structures import Container

NETWORK = 100  # sides of the network input in these tests
IOU_THRESHOLD = 0.45

Box = tuple[float, float, float, float]
Object = tuple[Box, int, float]  # box, label and score


def test_corners_by_hand() -> None:
    # A stride of 3 in each direction; the last column and row are moved inside.
    assert tile_corners((9, 6), (4, 4), overlap=0.25) == [
        *((0, 0, 4, 4), (3, 0, 7, 4), (5, 0, 9, 4)),
        *((0, 2, 4, 6), (3, 2, 7, 6), (5, 2, 9, 6)),
    ]
    assert tile_corners((10, 4), (4, 4), overlap=0.25) == [(0, 0, 4, 4), (3, 0, 7, 4), (6, 0, 10, 4)]
    assert tile_corners((500, 20), (300, 300)) == [(0, 0, 300, 20), (200, 0, 500, 20)]
    for size in ((1, 1), (300, 300), (300, 10), (299, 300)):
        assert tile_corners(size, (300, 300)) == []


sides = st.integers(1, 700)
tile_sides = st.integers(5, 300)


@given(st.tuples(sides, sides), st.tuples(tile_sides, tile_sides), st.sampled_from([0.0, 0.2, 0.5]))
def test_tiles_cover_the_image(size: tuple[int, int], tile: tuple[int, int], overlap: float) -> None:
    corners = tile_corners(size, tile, overlap)
    assume(corners)
    assert len(corners) == len(set(corners))
    for axis in (0, 1):
        spans = sorted({(corner[axis], corner[axis + 2]) for corner in corners})
        assert (spans[0][0], spans[-1][1]) == (0, size[axis])
        assert all(end - start == min(tile[axis], size[axis]) for start, end in spans)
        overlaps = [first[1] - second[0] for first, second in itertools.pairwise(spans)]
        assert all(found >= int(overlap * tile[axis]) for found in overlaps)
    columns, rows = ({(c[axis], c[axis + 2]) for c in corners} for axis in (0, 1))
    assert len(corners) == len(columns) * len(rows)


def found_in(view: Corners, objects: list[Object], fragment_score: float = 0.0) -> Container:
    """Return the visible part of each object, as a perfect detector finds it in a view of the image.

    Objects that the view cuts score ``fragment_score``; with zero they are not found.
    """
    x1, y1, x2, y2 = view
    boxes, labels, scores = [], [], []
    for box, label, score in objects:
        seen = (max(box[0], x1), max(box[1], y1), min(box[2], x2), min(box[3], y2))
        if seen[0] >= seen[2] or seen[1] >= seen[3]:
            continue
        score = score if seen == box else fragment_score
        if score:
            boxes.append([seen[0] - x1, seen[1] - y1, seen[2] - x1, seen[3] - y1])
            labels.append(label)
            scores.append(score)
    found = Container(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        scores=torch.tensor(scores, dtype=torch.float32),
    )
    found.img_width, found.img_height = x2 - x1, y2 - y1
    return found.resize((NETWORK, NETWORK))


def nothing() -> Container:
    return found_in((0, 0, 1, 1), [])


def merged(views: list[Container], corners: list[Corners], size: tuple[int, int]) -> list[Object]:
    found = merge_views(views, corners, size, IOU_THRESHOLD)
    assert (found.img_width, found.img_height) == size
    boxes = [tuple(round(value, 2) for value in box) for box in found["boxes"].tolist()]
    scores = [round(score, 4) for score in found["scores"].tolist()]
    return list(zip(boxes, found["labels"].tolist(), scores, strict=True))  # type: ignore[arg-type]


def test_without_tiles_it_is_plain_prediction() -> None:
    objects = [((10.0, 20.0, 30.0, 60.0), 1, 0.9), ((10.0, 20.0, 30.0, 60.0), 1, 0.8)]
    view = found_in((0, 0, 200, 100), objects)
    found = merge_views([view], [], (200, 100), IOU_THRESHOLD)
    assert torch.equal(found["boxes"], view.resize((200, 100))["boxes"])  # two: the network's own NMS has had its say
    assert found["scores"].tolist() == view["scores"].tolist()


lengths = st.floats(0.01, 0.75 * OVERLAP)
places = st.floats(0, 1)


@given(
    st.tuples(st.integers(60, 500), st.integers(60, 500)),
    st.integers(50, 200),
    st.tuples(lengths, lengths),
    st.tuples(places, places),
    st.floats(0.01, 1),
)
def test_a_small_object_is_found_once(size, tile, length, place, fragment_score):
    """However sure the tiles that cut it are of what they see, and though the whole image is too coarse for it."""
    corners = tile_corners(size, (tile, tile))
    assume(corners)
    width, height = (round(tile * side, 2) for side in length)
    x1, y1 = (round((total - side) * at, 2) for total, side, at in zip(size, (width, height), place, strict=True))
    box = (x1, y1, round(x1 + width, 2), round(y1 + height, 2))
    views = [nothing(), *(found_in(corner, [(box, 3, 0.5)], fragment_score) for corner in corners)]
    ((found, label, score),) = merged(views, corners, size)
    assert found == pytest.approx(box, abs=0.02)
    assert (label, score) == (3, 0.5)


CORNERS = tile_corners((340, 100), (100, 100))


def merged_objects(whole: list[Object], tiles: list[Object], fragment_score: float = 0.0) -> list[Object]:
    """Merge the objects found in the whole image of 340 x 100 pixels with those found in its four tiles."""
    views = [found_in((0, 0, 340, 100), whole), *(found_in(corner, tiles, fragment_score) for corner in CORNERS)]
    return merged(views, CORNERS, (340, 100))


@pytest.mark.parametrize(
    "box",
    [
        (20.0, 10.0, 95.0, 90.0),  # in the first tile; the second sees 15 of its 75 columns
        (85.0, 10.0, 175.0, 90.0),  # in the second; the first sees 15, the third 15
        (50.0, 10.0, 150.0, 90.0),  # only in the whole image
        (5.0, 5.0, 335.0, 95.0),  # larger than a tile
    ],
)
@pytest.mark.parametrize("fragment_score", [0.3, 0.9])
def test_parts_of_a_large_object_give_way(box: Box, fragment_score: float) -> None:
    objects = [(box, 1, 0.6)]
    assert merged_objects(objects, objects, fragment_score) == objects


def test_a_part_stays_where_the_whole_is_not_found() -> None:
    assert merged([nothing() for _ in range(5)], CORNERS, (340, 100)) == []
    box = (50.0, 10.0, 150.0, 90.0)
    found = merged_objects([], [(box, 1, 0.6)], fragment_score=0.4)
    assert found == [((50.0, 10.0, 100.0, 90.0), 1, 0.4), ((80.0, 10.0, 150.0, 90.0), 1, 0.4)]


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (((50.0, 10.0, 100.0, 90.0), 1, 0.8), ((20.0, 0.0, 320.0, 100.0), 1, 0.3)),  # scores less than half
        (((50.0, 10.0, 100.0, 90.0), 1, 0.8), ((20.0, 0.0, 320.0, 100.0), 2, 0.8)),  # another class
        (((0.0, 0.0, 40.0, 100.0), 1, 0.5), ((0.0, 0.0, 100.0, 100.0), 1, 0.5)),  # cut by the image, not by a tile
    ],
)
def test_a_part_does_not_give_way(part: Object, other: Object) -> None:
    views = [found_in((0, 0, 340, 100), [other]), found_in(CORNERS[0], [part]), *(nothing() for _ in CORNERS[1:])]
    assert sorted(merged(views, CORNERS, (340, 100))) == sorted([part, other])


def test_an_object_within_another_of_its_class_stays() -> None:
    objects = [((10.0, 10.0, 70.0, 90.0), 1, 0.9), ((30.0, 30.0, 50.0, 50.0), 1, 0.8)]
    assert merged_objects([], objects) == objects


def test_classes_do_not_meet_and_scores_descend() -> None:
    box = (10.0, 10.0, 40.0, 40.0)
    objects = [(box, 1, 0.5), (box, 2, 0.7), ((85.0, 5.0, 95.0, 15.0), 1, 0.6)]
    assert merged_objects(objects[:1], objects) == [objects[1], objects[2], objects[0]]


def test_many_cut_boxes_are_compared_in_parts() -> None:
    """More than are compared with the whole ones at once."""
    left: Tensor = 30 + 10 * torch.rand(600, 1)
    boxes = torch.cat([left, left / 2, torch.full_like(left, 100), left / 2 + 60], dim=1).tolist()
    parts = found_in((0, 0, 100, 100), [(tuple(box), 1, 0.4) for box in boxes])
    whole = ((25.0, 10.0, 130.0, 90.0), 1, 0.5)
    views = [found_in((0, 0, 340, 100), [whole]), parts, *(nothing() for _ in CORNERS[1:])]
    assert merged(views, CORNERS, (340, 100)) == [whole]
