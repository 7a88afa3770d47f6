import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.inference.sources import Frame, PendingFrame, VideoInfo
from ssd.inference.sources.video import VideoSource
from ssd.structures import Container
from ssd.utils.errors import ConfigError, ImageError
from ssd.utils.image import read_image, write_image

CLASS_NAMES = ("__background__", "cat", "dog")
HEIGHT, WIDTH = 40, 80  # of the network input


class Halves:
    """A network that finds a cat in the left half of every image and a dog in the right half.

    Their scores are the red at the left and at the right edge, from 0 to 1.
    """

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def __call__(self, images: Tensor) -> list[Container]:
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, HEIGHT, WIDTH)
        self.batch_sizes.append(len(images))
        return [self.detect(image) for image in images]

    def detect(self, image: Tensor) -> Container:
        middle, quarter = WIDTH // 2, WIDTH // 4
        sides = image[0, :, :quarter], image[0, :, -quarter:]  # where resizing has not mixed the two
        scores = torch.stack([side.float().mean() / 255 for side in sides])
        boxes = torch.tensor([[0.0, 0, middle, HEIGHT], [middle, 0, WIDTH, HEIGHT]])
        order = scores.argsort(descending=True)
        found = Container(boxes=boxes[order], labels=order + 1, scores=scores[order])
        found.img_width, found.img_height = WIDTH, HEIGHT
        return found


@pytest.fixture
def network() -> Halves:
    return Halves()


@pytest.fixture
def predictor(network: Halves) -> Predictor:
    return Predictor(network, (HEIGHT, WIDTH), CLASS_NAMES)


def image(left: int, right: int = 0, size: tuple[int, int] = (16, 8)) -> np.ndarray:
    """An image of (width, height) with two shades of red."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 0] = left, right
    return pixels


def cat_scores(results: list[Detections]) -> list[int]:
    return [round(255 * float(found.scores[found.labels == 1][0])) for found in results]


def test_one_image(predictor: Predictor) -> None:
    pixels = image(51, 204, (20, 10))
    for found in (predictor(pixels), *predictor.predict(pixels)):
        assert found.names == ["dog", "cat"]
        assert found.boxes.tolist() == [[10, 0, 20, 10], [0, 0, 10, 10]]
        np.testing.assert_allclose(found.scores, [0.8, 0.2], atol=1e-6)
        assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (np.float32, np.int64, np.float32)
        assert found.class_names == CLASS_NAMES
        assert (found.name, found.orig_size, found.path, found.video) == ("image", (20, 10), None, None)
        assert found.pixels is pixels
    with pytest.raises(ImageError, match="float32"):
        predictor(np.zeros((8, 8, 3), np.float32))


def test_show_result_is_called_as_in_mmdetection(predictor: Predictor, tmp_path: Path) -> None:
    pixels = image(200, 50, (20, 10))
    (result,) = predictor.predict(pixels)
    predictor.show_result(pixels, result, score_thr=0.5, out_file=str(tmp_path / "drawn.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "drawn.png"), result.draw(score_threshold=0.5))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_order_batches_and_sizes(predictor: Predictor, network: Halves, batch_size: int) -> None:
    sizes = [(16 + 7 * number, 8 + 3 * number) for number in range(7)]
    images = [image(10 * number, 255, size) for number, size in enumerate(sizes, start=1)]
    results = predictor.predict(images, batch_size=batch_size)
    assert predictor.predict([]) == list(predictor.predict([], stream=True)) == []
    assert [found.orig_size for found in results] == sizes
    assert [found.index for found in results] == list(range(7))
    assert cat_scores(results) == [10, 20, 30, 40, 50, 60, 70]
    assert network.batch_sizes == [batch_size] * (7 // batch_size) + [7 % batch_size] * (7 % batch_size > 0)
    for pixels, found, (width, height) in zip(images, results, sizes, strict=True):
        assert found.boxes[0].tolist() == pytest.approx([width / 2, 0, width, height])
        for name in ("boxes", "labels", "scores"):
            assert np.array_equal(getattr(found, name), getattr(predictor(pixels), name))


def test_thresholds(network: Halves) -> None:
    predictor = Predictor(network, (HEIGHT, WIDTH), CLASS_NAMES, score_threshold=0.3)
    pixels = image(51, 204)
    assert predictor(pixels).names == ["dog"]
    own = [0.0] + [0.1 if name == "cat" else 0.9 for name in CLASS_NAMES[1:]]
    for threshold, names in ((None, ["dog"]), (0.1, ["dog", "cat"]), (own, ["cat"]), (0.9, [])):
        (found,) = predictor.predict(pixels, score_threshold=threshold)
        assert found.names == names
    assert found.boxes.shape == (0, 4)


def test_a_stream_carries_pixels_and_a_list_leaves_those_of_files(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "two words é.png"
    pixels = image(200, 100, (200, 70))
    write_image(pixels, path)
    for tile in (None, 60):
        (kept,) = predictor.predict(path, tile=tile, stream=True)
        assert np.array_equal(kept.pixels, pixels)
        (found,) = predictor.predict(path, tile=tile)
        assert found.pixels is None
        assert (found.path, found.name) == (path, str(path))
        assert np.array_equal(found.image, pixels)  # read again
        assert found.labels.tolist() == kept.labels.tolist()


def test_mistakes_fail_at_once(predictor: Predictor) -> None:
    for options, message in (({"batch_size": 0}, "batch_size .*0"), ({"tile": -5}, "tile .*32 .*-5")):
        with pytest.raises(ConfigError, match=message):
            predictor.predict(image(0), stream=True, **options)
    with pytest.raises(ImageError, match="missing"):
        predictor.predict("missing.jpg", stream=True)


def test_bad_images(predictor: Predictor, network: Halves, tmp_path: Path) -> None:
    """One raises after the results before it; with on_error it is skipped."""
    bad = tmp_path / "bad.jpg"
    bad.touch()
    results = predictor.predict([image(10), image(20), bad, image(30)], stream=True, batch_size=8)
    assert cat_scores([next(results), next(results)]) == [10, 20]
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        next(results)
    network.batch_sizes.clear()
    errors: list[ImageError] = []
    found = predictor.predict([bad, image(10), bad, image(20), bad], batch_size=2, on_error=errors.append)
    assert (cat_scores(found), [one.index for one in found]) == ([10, 20], [1, 3])
    assert (["bad.jpg" in str(error) for error in errors], network.batch_sizes) == ([True] * 3, [2])


class Images:
    """A source of red images, whose pixels are made when they are read."""

    def __init__(self, count: int):
        self.num_frames = count
        self.references: list[weakref.ref[np.ndarray]] = []  # one per image that was read

    def __iter__(self) -> Iterator[PendingFrame]:
        for number in range(self.num_frames):
            yield PendingFrame(str(number), lambda number=number: self._read(number))  # type: ignore[misc]

    def _read(self, number: int) -> Frame:
        pixels = image(number % 256)
        self.references.append(weakref.ref(pixels))  # appending is atomic
        return Frame(pixels, str(number), index=number)


def reading_threads() -> int:
    return sum(thread.name.startswith(("ssd-walk", "ssd-read")) for thread in threading.enumerate())


def test_memory_does_not_grow_with_the_source(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd.inference.predictor.available_cores", lambda: 2)
    source = Images(200)
    counts = [
        sum(reference() is not None for reference in source.references)
        for _ in predictor.predict(source, stream=True, batch_size=4)
    ]
    assert len(counts) == len(source.references) == 200
    assert 1 <= max(counts) <= 16  # a batch in the network, one ahead, one whose results are handed out


@pytest.mark.parametrize("end", ["close", "drop"])
def test_a_stream_starts_with_its_first_result_and_ends_when_it_is_closed(predictor, network, end):
    source = Images(10**9)
    results = predictor.predict(source, stream=True, batch_size=2)
    assert (len(source.references), reading_threads()) == (0, 0)
    next(results)
    assert network.batch_sizes == [2]
    assert reading_threads()
    if end == "close":
        results.close()  # type: ignore[attr-defined]
    else:
        del results
        gc.collect()
    assert reading_threads() == 0
    assert len(source.references) < 30


def test_an_error_of_the_network_ends_the_threads() -> None:
    def fail(_: Tensor) -> list[Container]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Predictor(fail, (HEIGHT, WIDTH), CLASS_NAMES).predict(Images(100))
    assert reading_threads() == 0


def test_images_are_read_while_the_network_works(network: Halves) -> None:
    source = Images(6)

    def wait_for_the_next_batch(images: Tensor) -> list[Container]:
        wanted = min(6, 2 * len(network.batch_sizes) + 4)
        deadline = time.monotonic() + 10
        while len(source.references) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return network(images)

    predictor = Predictor(wait_for_the_next_batch, (HEIGHT, WIDTH), CLASS_NAMES)
    assert len(predictor.predict(source, batch_size=2)) == 6


class Camera(VideoSource):
    """Five frames, each shown when it is released."""

    def __init__(self) -> None:
        self.info = VideoInfo("camera 0", frame_rate=0.0, num_frames=None, size=(16, 8))
        self.shown: list[int] = []
        self.released = threading.Semaphore(1)

    def __iter__(self) -> Iterator[PendingFrame]:
        for number in range(5):
            assert self.released.acquire(timeout=10)
            self.shown.append(number)
            frame = Frame(image(10 * number), f"camera 0, frame {number}", index=number, video=self.info)
            yield PendingFrame(frame.name, lambda frame=frame: frame)  # type: ignore[misc]


def test_a_camera_is_taken_frame_by_frame(predictor: Predictor, network: Halves) -> None:
    """A result comes before the next frame is shown."""
    camera = Camera()
    for number, found in enumerate(predictor.predict(camera, stream=True, batch_size=8)):
        assert camera.shown == list(range(number + 1))
        assert (found.index, found.video) == (number, camera.info)
        camera.released.release()
    assert network.batch_sizes == [1] * 5


def red_objects(images: Tensor) -> list[Container]:
    """A network that finds every connected red region exactly; larger ones score higher."""
    results = []
    for pixels in images:
        _, _, stats, _ = cv2.connectedComponentsWithStats((pixels[0] > 128).byte().numpy(), connectivity=8)
        objects = stats[1:]  # the first is the background
        objects = objects[np.argsort(-objects[:, cv2.CC_STAT_AREA])]
        x, y, width, height, area = torch.from_numpy(objects).unbind(1)
        boxes = torch.stack([x, y, x + width, y + height], dim=1).float()
        found = Container(boxes=boxes, labels=torch.ones_like(area).long(), scores=0.5 + area / (2 * pixels[0].numel()))
        found.img_height, found.img_width = pixels.shape[1:]
        results.append(found)
    return results


def scene(size: tuple[int, int], boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2, 0] = 255
    return pixels


# In tiles of 100 with a stride of 80: in the middle of one, across an edge, across two edges, across many.
OBJECTS = [(20, 30, 35, 45), (93, 20, 107, 34), (174, 172, 186, 184), (20, 165, 70, 235), (110, 50, 280, 70)]


@pytest.mark.parametrize("tile", [100, True])
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_objects_that_tiles_cut_are_found_once(tile: int | bool, batch_size: int) -> None:
    finder = Predictor(red_objects, (100, 100), CLASS_NAMES)
    pixels = scene((300, 260), OBJECTS[:4])
    (found,) = finder.predict(pixels, tile=tile, batch_size=batch_size)
    assert found.orig_size == (300, 260)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(OBJECTS[:4])
    (found,) = finder.predict(scene((300, 100), OBJECTS[4:]), tile=tile)  # by the view of the whole
    assert found.boxes.tolist() == [pytest.approx(OBJECTS[4], abs=3)]


def test_images_with_and_without_tiles_share_batches(network: Halves) -> None:
    """A small image, one of 3 x 2 tiles, a small one: 1 + 7 + 1 views."""
    predictor = Predictor(network, (HEIGHT, WIDTH), CLASS_NAMES)
    images = [image(10), image(20, size=(200, 70)), image(30)]
    results = predictor.predict(images, tile=True, batch_size=4)
    assert network.batch_sizes == [4, 4, 1]
    assert [found.orig_size for found in results] == [(16, 8), (200, 70), (16, 8)]
    assert cat_scores([results[0], results[2]]) == [10, 30]
