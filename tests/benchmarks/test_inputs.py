import numpy as np
import pytest
import torch

from benchmarks import library
from benchmarks.end_to_end import covered
from benchmarks.evaluation import make_test_set
from benchmarks.inputs import count_candidates, make_predictions, make_targets, make_untrained_predictions
from benchmarks.operations import count_operations, make_floor_timer
from benchmarks.photos import HEIGHT, WIDTH, draw_boxes, photo_paths, render_photo, write_photos
from ssd.data import build_datasets
from ssd.evaluation import eval_detection_voc

CPU = torch.device("cpu")


def test_photos(tmp_path) -> None:
    write_photos(tmp_path, 3)
    (dataset,) = build_datasets(library.with_photos(library.read_config(library.VGG_SSD300), tmp_path), is_train=True)
    assert len(dataset) == len(photo_paths(tmp_path)) == 3
    for index in range(3):
        image, annotation, _ = dataset[index]
        assert image.shape == (HEIGHT, WIDTH, 3)
        boxes = draw_boxes(index)
        assert annotation["boxes"].tolist() == boxes.tolist()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((boxes >= 0) & (boxes <= (WIDTH, HEIGHT, WIDTH, HEIGHT))).all()
        error = np.abs(image[..., ::-1].astype(float) - render_photo(index)).mean()
        assert error < 5, "rendered in OpenCV's order, stored at high quality"
    assert photo_paths(tmp_path)[0].stat().st_size == pytest.approx(85_000, rel=0.3)  # VOC's mean is near
    assert np.array_equal(render_photo(5), render_photo(5))
    assert not np.array_equal(render_photo(5), render_photo(6))


@pytest.mark.parametrize(("num_classes", "candidates"), [(21, 5000), (81, 50_000)])
def test_predictions_have_so_many_candidates(num_classes, candidates) -> None:
    """Everything is a candidate of an untrained network."""
    head = library.build_ssd300_head(CPU, num_classes)
    made = make_predictions(make_targets(2, num_classes, CPU), head.priors, num_classes, candidates)
    untrained = make_untrained_predictions(2, 8732, num_classes)
    for cls_logits, bbox_pred in (made, untrained):
        assert (cls_logits.shape, bbox_pred.shape) == ((2, 8732, num_classes), (2, 8732, 4))
    assert count_candidates(made[0]) == pytest.approx(candidates, abs=1)  # the last ones are at the very threshold
    assert count_candidates(untrained[0]) == 8732 * (num_classes - 1)


def test_operations_and_covered_time() -> None:
    a, b = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7)
    assert count_operations(lambda: a @ b) == 2 * 3 * 5 * 7
    assert count_operations(lambda: (a @ b).sum().backward()) == 2 * (2 * 3 * 5 * 7)  # b needs no gradient
    assert make_floor_timer(2 * 1024**3, CPU, torch.float32)(1) > 0
    assert covered([]) == 0
    assert covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4  # 0 to 3 and 5 to 6


def test_the_test_set_is_found_in_part() -> None:
    data = make_test_set(20, num_classes=5)
    _, mean_ap = eval_detection_voc(
        data.detections, data.annotations, 5, use_07_metric=True, inclusive_pixels=True, iou_threshold=0.5
    )
    assert 0.3 < mean_ap < 1
