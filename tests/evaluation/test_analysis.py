import contextlib
import io

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from ssd.evaluation import analyse, evaluate
from ssd.evaluation.analysis import AREAS, find_score_thresholds
from ssd.evaluation.coco import detections_to_results
from ssd.evaluation.inputs import read_predictions
from ssd.evaluation.matching import confusion_matrix, pick_confused
from tests.evaluation.sets import COCOSet, VOCSet, predicted, random_set

NAN = float("nan")
LEFT, RIGHT, FAR, NOWHERE = [0, 0, 99, 99], [200, 0, 299, 99], [400, 300, 439, 339], [600, 0, 650, 50]


def analyse_image(objects, *rows):
    """The analysis of one image: objects (box, label[, is_difficult]) and detections (box, label, score)."""
    return analyse(VOCSet([objects]), [predicted(*rows)])


@pytest.mark.parametrize("grid", [1e-3, 20.0])
@pytest.mark.parametrize("metric", ["voc07", "voc", "coco"])
def test_ap_is_that_of_the_evaluation(metric, grid, tmp_path):
    for seed in range(3):
        dataset, predictions = random_set(seed, grid=grid)
        values = evaluate(dataset, predictions, tmp_path, metric=metric).values
        analysis = analyse(dataset, predictions, metric=metric)
        if metric == "coco":
            assert np.nanmean(analysis.ap) == pytest.approx(values["AP50"], abs=1e-12)
            assert np.nanmean(analysis.ap75) == pytest.approx(values["AP75"], abs=1e-12)
        else:
            expected = [values[name] for name in dataset.class_names[1:]]
            np.testing.assert_array_equal(analysis.ap[1:], expected)


def test_ap_of_an_area_is_that_of_cocoeval():
    dataset, predictions = random_set(5, grid=10.0)
    category_ids = dataset.contiguous_id_to_coco_id
    results = detections_to_results(read_predictions(dataset, predictions), dataset.ids, category_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(dataset.coco, dataset.coco.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"][0, :, :, :, -1].mean(axis=0)  # (categories, areas) at IoU 0.5
    analysis = analyse(dataset, predictions)
    assert evaluator.params.areaRng[1:] == [list(map(pytest.approx, area)) for area in AREAS.values()]
    for index, name in enumerate(AREAS, start=1):
        np.testing.assert_allclose(analysis.ap_of_area[name][1:], precision[::-1, index], atol=1e-12)


def test_one_of_each_kind_of_error():
    """Objects: cat LEFT, cat RIGHT, dog FAR. AP of the cat: only its second-best detection is right, of two objects."""
    shifted = [240, 0, 339, 99]  # 60 of 140 columns in common with RIGHT: IoU 3 / 7
    rows = [
        ([0, 0, 99, 99], 2, 0.95),  # a cat taken for a dog
        (NOWHERE, 1, 0.9),
        ([0, 0, 99, 99], 1, 0.8),  # right
        ([0, 0, 99, 98], 1, 0.7),  # once more
        (shifted, 1, 0.6),  # badly placed
        (shifted, 2, 0.5),  # badly placed, and taken for a dog
    ]
    analysis = analyse_image([(LEFT, 1), (RIGHT, 1), (FAR, 2)], *rows)
    errors = analysis.errors
    names = ["class", "localisation", "both", "duplicate", "background"]
    kinds = [names[kind] if kind >= 0 else "" for kind in errors.kinds]
    assert kinds == ["class", "background", "", "duplicate", "localisation", "both"]
    assert errors.targets.tolist() == [0, -1, -1, -1, 1, -1]
    assert errors.is_missed.tolist() == [False, False, True]

    np.testing.assert_allclose(analysis.ap, [NAN, 1 / 4, 0])  # precision 1 / 2 up to recall 1 / 2
    expected = [
        [0, 0],  # class: the cat is found already, so the false dog is removed
        [1 / 2 * (1 / 2 + 1 / 2) - 1 / 4, 0],  # localisation: hits are 2nd and 4th, precision 1 / 2 twice
        *([0, 0], [0, 0]),  # both, duplicate
        [1 / 2 - 1 / 4, 0],  # background
        [0, 1],  # missed: no dog is left
    ]
    np.testing.assert_allclose(errors.costs[:, 1:], expected, atol=1e-15)


def test_a_wrong_class_costs_where_the_object_belongs():
    """The dog is taken for a cat, twice; fixed, the better of the two finds it."""
    errors = analyse_image([(LEFT, 1), (RIGHT, 2)], (LEFT, 1, 0.9), (RIGHT, 1, 0.8), (RIGHT, 1, 0.7)).errors
    assert errors.kinds.tolist() == [-1, 0, 0]
    assert not errors.is_missed.any()
    np.testing.assert_allclose(errors.costs[0, 1:], [0, 1])
    np.testing.assert_allclose(errors.costs[5, 1:], [0, 0])  # not missed but misnamed


def test_confusion_counts_every_object_once():
    rows = [
        (LEFT, 1, 0.9),  # right
        (RIGHT, 1, 0.8),  # a dog taken for a cat
        ([200, 0, 299, 90], 1, 0.7),  # once more, so a false alarm
        (FAR, 2, 0.2),  # below the threshold
    ]
    analysis = analyse_image([(LEFT, 1), (RIGHT, 2), (FAR, 2)], *rows)
    for threshold, expected in (
        (0.5, [[0, 1, 0], [0, 1, 0], [1, 1, 0]]),
        (0.1, [[0, 1, 0], [0, 1, 0], [0, 1, 1]]),
        (0.95, [[0, 0, 0], [1, 0, 0], [2, 0, 0]]),
    ):
        assert confusion_matrix(analysis.tables, analysis.matches, threshold).tolist() == expected


def test_the_classes_confused_most():
    confusion = np.array([[0, 9, 0, 0], [9, 5, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
    assert pick_confused(confusion, 2) == [2, 3]
    assert pick_confused(confusion, 9) == [1, 2, 3]


def test_thresholds_by_hand():
    """Hits at 0.9 and 0.6, false alarms at 0.7 and 0.3, three objects: F1 is 2/4, 2/5, 4/6, 4/7."""
    rows = [(LEFT, 1, 0.9), (NOWHERE, 1, 0.7), (RIGHT, 1, 0.6), (NOWHERE, 1, 0.3)]
    analysis = analyse_image([(LEFT, 1), (RIGHT, 1), (FAR, 1)], *rows)
    np.testing.assert_allclose(analysis.curves[1].f1, [2 / 4, 2 / 5, 4 / 6, 4 / 7])
    assert analysis.best[1] == pytest.approx((0.45, 2 / 3, 2 / 3, 2 / 3))  # between 0.6 and 0.3
    assert analysis.overall_best == analysis.best[1] == analysis.at_overall_best[1]
    assert np.isnan(analysis.best[2]).tolist() == [True, True, False, True]


def test_thresholds_to_use() -> None:
    """A class with fewer than ten objects has the threshold of all."""
    cats = [([30 * i, 0, 30 * i + 20, 20], 1) for i in range(10)]
    rows = [(box, label, 0.9 - 0.01 * i) for i, (box, label) in enumerate(cats)] + [(FAR, 2, 0.3), (NOWHERE, 1, 0.6)]
    dataset, found = VOCSet([[*cats, (FAR, 2)]]), [predicted(*rows)]
    analysis = analyse(dataset, found)
    thresholds = find_score_thresholds(dataset, found)
    assert thresholds == [analysis.threshold, analysis.best[1].threshold, analysis.threshold]
    assert (thresholds[0] < 0.3, 0.6 < thresholds[1] < 0.81) == (True, True)
    assert find_score_thresholds(dataset, [predicted((NOWHERE, 1, 0.9))]) is None


def test_equal_scores_are_kept_or_dropped_together():
    rows = [(LEFT, 1, 0.5), (RIGHT, 1, 0.5), (FAR, 1, 0.5), (FAR, 1, 0.25)]
    best = analyse_image([(LEFT, 1), (RIGHT, 1)], *rows).best[1]
    assert best == pytest.approx((0.38, 2 / 3, 1, 4 / 5))


@pytest.mark.parametrize(("low", "high"), [(0.098, 0.1), (0.3, 0.3 + 2**-25), (0.7, 0.7 + 2**-24)])
def test_thresholds_part_neighbours_also_in_float32(low, high):
    """The float32 next to 0.1 lies above 0.1, which is in the middle of these when rounded."""
    high, low = np.float32(high), min(np.float32(low), np.nextafter(np.float32(high), np.float32(0)))
    threshold = analyse_image([(LEFT, 1)], (LEFT, 1, high), (FAR, 1, low)).best[1].threshold
    for kind in (np.float32, np.float64):
        assert kind(low) <= kind(threshold) < kind(high)


def test_difficult_objects_need_not_be_found_and_may_be():
    analysis = analyse_image([(LEFT, 1), (RIGHT, 1, True), (FAR, 2, True)], (LEFT, 1, 0.9), (RIGHT, 1, 0.8))
    assert analysis.errors.kinds.tolist() == [-1, -1]
    assert not analysis.errors.is_missed.any()
    assert analysis.confusion.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(analysis.ap, [NAN, 1, NAN])
    assert analysis.worst_images(5) == []


def test_a_crowd_takes_any_number_of_detections():
    crowd = {"id": 1, "image_id": 0, "category_id": 99, "bbox": [0, 0, 200, 200], "area": 9000, "iscrowd": 1}
    cat = {"id": 2, "image_id": 0, "category_id": 99, "bbox": [300, 0, 50, 50], "area": 2500, "iscrowd": 0}
    rows = [([10, 10, 50, 50], 1, 0.9), ([60, 60, 90, 90], 1, 0.8), ([300, 0, 350, 50], 1, 0.7)]
    analysis = analyse(COCOSet([crowd, cat], 1, 1), [predicted(*rows)])
    assert analysis.matches.is_ignored.tolist() == [True, True, False]
    assert analysis.ap[1] == 1
    assert analysis.errors.kinds.tolist() == [-1, -1, -1]
    assert analysis.confusion.tolist() == [[0, 0], [0, 1]]


def test_worst_images_come_by_their_errors():
    objects = [[(LEFT, 1)], [(LEFT, 1)], [(LEFT, 1), (RIGHT, 1)], [(LEFT, 1)]]
    found = [
        predicted((LEFT, 1, 0.9)),  # right
        predicted((LEFT, 1, 0.9), (FAR, 1, 0.95)),  # and one false alarm
        predicted(),  # two missed
        predicted((LEFT, 1, 0.9), (FAR, 1, 0.97)),  # a worse false alarm
    ]
    analysis = analyse(VOCSet(objects), found)
    worst = analysis.worst_images(5)
    assert [one.image for one in worst] == [2, 3, 1]
    assert [len(one.missed) for one in worst] == [2, 0, 0]
    assert [len(one.false_alarms) for one in worst] == [0, 1, 1]
    assert [one.image for one in analysis.worst_images(1)] == [2]
    assert [one.image for one in analysis.best_images(1)] == [0]
    assert [one.image for one in analysis.best_images(5)] == [0]  # the others are among the worst


@pytest.mark.parametrize("metric", ["voc07", "coco"])
def test_no_detections_at_all(metric):
    dataset, _ = random_set(0, num_images=3)
    analysis = analyse(dataset, [predicted()] * 3, metric=metric)
    has_objects = ~np.isnan(analysis.ap)
    assert np.nanmax(analysis.ap) == 0
    assert np.isnan(analysis.overall_best.threshold)
    assert analysis.threshold == 0
    np.testing.assert_array_equal(analysis.errors.costs[5], np.where(has_objects, 1, NAN))
    assert not analysis.errors.costs[:5, has_objects].any()
    assert analysis.confusion[:, 0].sum() == analysis.tables.count_objects().sum()
    assert len(analysis.worst_images(9)) == 3


def test_no_objects_at_all():
    analysis = analyse(VOCSet([[], []]), [predicted((LEFT, 1, 0.9)), predicted()])
    assert np.isnan(analysis.ap).all()
    assert np.isnan(analysis.overall_best.threshold)
    assert analysis.confusion.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert [one.image for one in analysis.worst_images(9)] == [0]
