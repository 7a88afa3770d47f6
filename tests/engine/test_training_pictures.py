"""Pictures of the first batch, with the priors that learn each object, and of an evaluation."""

import numpy as np
import torch

from ssd.config import load_config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.engine.training_pictures import draw_analysis, draw_first_batch, positive_priors, to_pixels
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from tests.tools.report.sets import evaluated, three_classes


def test_pixels_and_priors_are_those_of_the_training(config_file) -> None:
    cfg = load_config(config_file, ["SOLVER.BATCH_SIZE", 6])
    datasets = build_datasets(cfg, is_train=True)
    names = datasets[0].class_names
    cfg = with_num_classes(cfg, names)
    model = build_detection_model(cfg)
    images, targets, _ = next(iter(make_train_loader(cfg, datasets)))
    transform = make_batch_transform(cfg, is_train=True)

    inputs = transform(images, targets, 0)
    pixels = to_pixels(inputs, cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    mean, std = (np.array(values) for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    expected = (inputs.permute(0, 2, 3, 1).numpy() * std + mean).clip(0, 255)
    np.testing.assert_allclose(pixels, expected, atol=0.51)
    assert torch.equal(transform(images, targets, 0), inputs)

    priors = positive_priors(model.box_head, targets)
    for row, own in enumerate(priors):
        centres = (own[:, :2] + own[:, 2:]) / 2
        assert (len(own) > 0) == bool((targets["labels"][row] > 0).any())
        assert ((centres > 0) & (centres < 1)).all()
    picture = draw_first_batch(pixels, targets, priors, names)
    assert (picture.dtype, picture.ndim) == (np.uint8, 3)

    inputs = torch.tensor([-1e3, 0.4, 1e3]).view(1, 3, 1, 1)
    assert to_pixels(inputs, [123.0, 117.0, 104.0], [1.0] * 3).tolist() == [[[[0, 117, 255]]]]


def test_priors_and_objects_are_drawn_and_counted() -> None:
    images = np.full((20, 100, 100, 3), 40, np.uint8)
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.4]]]).repeat(20, 1, 1)
    targets = Container(boxes=boxes, labels=torch.ones(20, 1, dtype=torch.int64))
    priors = [np.array([[0.5, 0.5, 0.9, 0.9]])] * 20
    names = ("__background__", "cat")
    picture = draw_first_batch(images, targets, priors, names)
    without = draw_first_batch(images, targets, [np.zeros((0, 4))] * 20, names)
    height, width, _ = picture.shape
    assert 4 * 400 < height < 4 * 440  # 16 of the 20 images, enlarged to 400 pixels
    assert 4 * 400 < width < 4 * 420
    tile = picture[8:408, 8:408]
    assert (tile[200, 210:350] == 255).all()  # upper line of the prior, white on a dark image
    assert not (without[8:408, 8:408][200, 210:350] == 255).any()
    assert (picture[409:428, 8:408] != without[409:428, 8:408]).any()  # the caption counts the priors


def test_plots_of_an_evaluation_up_to_a_number_of_detections(tmp_path) -> None:
    evaluation = evaluated(*three_classes(), tmp_path)
    pictures = draw_analysis(evaluation, max_detections=7)  # as it has
    assert list(pictures) == ["precision", "f1", "confusion"]
    for picture in pictures.values():
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
        assert picture.std() > 5  # not blank
    assert draw_analysis(evaluation, max_detections=6) == {}
