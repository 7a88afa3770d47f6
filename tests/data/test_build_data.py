import os
import signal
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from ssd.data import build, build_datasets, make_batch_transform, make_test_loader, make_train_loader
from ssd.structures import Container
from ssd.utils.errors import ConfigError, DatasetError


class Painted:
    """Images of one colour and random size; the colour tells the index. Every third has no object."""

    class_names = ("__background__", "thing", "other")
    metric = "voc"

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        rng = np.random.default_rng(index)
        width, height = rng.integers(20, 60, 2).tolist()
        image = np.full((height, width, 3), index, np.uint8)
        corners = np.sort(rng.uniform(0, 1, (index % 3, 2, 2)), axis=1) * (width, height)
        boxes = torch.from_numpy(corners.reshape(-1, 4).astype(np.float32))  # a third-party set may give tensors
        return image, Container(boxes=boxes, labels=torch.ones(len(boxes), dtype=torch.int64)), index


def custom_voc(root, split="train", **extra):
    return {"FORMAT": "voc", "ROOT": str(root), "SPLIT": split, **extra}


@pytest.mark.parametrize(("is_train", "key"), [(True, "TRAIN"), (False, "TEST")])
def test_sets_are_named_and_named_once(make_cfg, is_train, key) -> None:
    for names in ((), ("voc_2007_test", "voc_2007_test")):
        with pytest.raises(ConfigError, match=rf"DATASETS\.{key} "):
            build_datasets(make_cfg(**{f"DATASETS.{key}": names}), is_train)


def test_voc_sets_without_classes_share_the_union_of_their_names(write_voc, make_cfg) -> None:
    one = write_voc({"a": [("dog", (1, 1, 9, 9)), ("cat", (1, 1, 9, 9))]}, root="one")
    two = write_voc({"b": [("bee", (1, 1, 9, 9)), ("dog", (1, 1, 9, 9))]}, root="two")
    sets = {"one": custom_voc(one), "two": custom_voc(two)}
    cfg = make_cfg(sets, **{"DATASETS.TRAIN": ("one", "two"), "DATASETS.TEST": ("two",)})
    training = build_datasets(cfg, is_train=True)
    assert [dataset.class_names for dataset in training] == [("__background__", "bee", "cat", "dog")] * 2
    assert [dataset[0][1]["labels"].tolist() for dataset in training] == [[3, 2], [1, 3]]
    (testing,) = build_datasets(cfg, is_train=False, class_names=training[0].class_names)
    assert testing.class_names == training[0].class_names
    assert testing[0][1]["labels"].tolist() == [1, 3]
    (alone,) = build_datasets(cfg, is_train=False)
    assert alone.class_names == ("__background__", "bee", "dog")


def test_sets_that_disagree_are_an_error_with_both_lists(write_voc, make_cfg) -> None:
    root = write_voc({"a": [("dog", (1, 1, 9, 9))]})
    custom = {"one": custom_voc(root, CLASSES=["dog", "cat"]), "two": custom_voc(root, CLASSES=["cat", "dog"])}
    with pytest.raises(ConfigError, match=r"one: dog, cat\. two: cat, dog\."):
        build_datasets(make_cfg(custom, **{"DATASETS.TRAIN": ("one", "two")}), is_train=True)


def test_training_batches(make_cfg) -> None:
    loader = make_train_loader(make_cfg(**{"INPUT.IMAGE_SIZE": (24, 32)}), [Painted(4), Painted(7)])
    batches = list(loader)
    assert len(loader) == len(batches) == 8
    for images, targets, ids in batches:
        assert (images.shape, images.dtype) == ((4, 3, 24, 32), torch.uint8)
        assert images.is_contiguous(memory_format=torch.channels_last)
        boxes, labels, area = targets["boxes"], targets["labels"], targets["valid_area"]
        assert boxes.shape == (4, labels.shape[1], 4)
        assert [value.dtype for value in (boxes, area, labels, ids)] == [torch.float32] * 2 + [torch.int64] * 2
        assert ((boxes >= 0) & (boxes <= 1)).all()
        is_object = labels > 0
        assert (boxes[~is_object] == 0).all()
        assert (boxes[is_object][:, 2:] > boxes[is_object][:, :2]).all()
        assert is_object.sum(dim=1).max() == labels.shape[1]
        assert ((area >= 0) & (area <= torch.tensor([32, 24, 32, 24]))).all()
        # The centre of the valid area shows the image of the index, in the concatenation of 4 and 7 images.
        for image, (x1, y1, x2, y2), index in zip(images, area.tolist(), ids.tolist(), strict=True):
            if min(x2 - x1, y2 - y1) >= 3:
                assert image[:, int((y1 + y2) / 2), int((x1 + x2) / 2)].tolist() == [index - 4 * (index >= 4)] * 3


def test_batches_without_any_object(make_cfg) -> None:
    class Astray(Painted):
        """All boxes are outside of the image or inverted."""

        def __getitem__(self, index):
            boxes = np.array([[-9, -9, -3, -3], [62, 2, 66, 9], [9, 9, 4, 4]], dtype=np.float32)
            return super().__getitem__(index)[0], Container(boxes=boxes, labels=np.array([1, 1, 1])), index

    for dataset in (Painted(1), Astray(5)):
        for _, targets, _ in make_train_loader(make_cfg(), [dataset]):
            assert (targets["boxes"].shape, targets["labels"].shape) == ((4, 0, 4), (4, 0))


def tensors(loader) -> list[list[torch.Tensor]]:
    names = ("boxes", "labels", "valid_area")
    return [[images, *(targets[name] for name in names), ids] for images, targets, ids in loader]


assert_equal = partial(torch.testing.assert_close, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # where one core is visible
def test_workers_do_not_change_the_stream(make_cfg, monkeypatch) -> None:
    monkeypatch.setattr(build, "available_cores", lambda: 2)
    reference = tensors(make_train_loader(make_cfg(), [Painted(11)]))
    for num_workers in (1, 2):
        loader = make_train_loader(make_cfg(**{"DATA_LOADER.NUM_WORKERS": num_workers}), [Painted(11)])
        assert loader.num_workers == num_workers
        assert_equal(tensors(loader), reference)


def test_the_last_iterations_only_mirror(make_cfg) -> None:
    """The iterations before are those of a training without an end of this kind."""
    jitter = {"INPUT.AUGMENTATION.SCALE": (0.5, 1.5), "INPUT.AUGMENTATION.SHIFT": 0.2}
    jitter |= {"INPUT.AUGMENTATION.EXPAND": False, "INPUT.AUGMENTATION.CROP": False}
    whole = tensors(make_train_loader(make_cfg(**jitter), [Painted(11)]))
    closed = make_cfg(**jitter, **{"INPUT.AUGMENTATION.CLOSE": 0.25})
    batches = tensors(make_train_loader(closed, [Painted(11)]))
    assert_equal(batches[:6], whole[:6])
    areas, open_areas = (torch.stack([batch[3] for batch in found[6:]]) for found in (batches, whole))
    image = torch.tensor([0.0, 0, 32, 32])
    assert torch.equal(areas, image.expand_as(areas))
    assert not torch.equal(open_areas, areas)
    two = [make_train_loader(closed, [Painted(11)], 5, rank=rank, world_size=2) for rank in (0, 1)]
    halves = [[torch.equal(batch[3], image.expand(4, 4)) for batch in tensors(loader)] for loader in two]
    assert halves == [[False, True, True]] * 2


def test_jitter_and_crops_exclude_each_other(make_cfg) -> None:
    cfg = make_cfg(**{"INPUT.AUGMENTATION.ASPECT": (0.8, 1.25), "INPUT.AUGMENTATION.EXPAND": False})
    with pytest.raises(ConfigError, match=r"EXPAND and CROP"):
        make_train_loader(cfg, [Painted(4)])


def test_seeds_and_passes_differ(make_cfg) -> None:
    streams = [tensors(make_train_loader(make_cfg(**{"SOLVER.SEED": seed}), [Painted(4)])) for seed in (0, 1)]
    assert not torch.equal(streams[0][0][0], streams[1][0][0])
    views = {index: set() for index in range(4)}
    for *_, areas, ids in streams[0]:  # 8 passes over 4 images
        for area, index in zip(areas.tolist(), ids.tolist(), strict=True):
            views[index].add(tuple(area))
    # Images of one colour differ only in the area that they fill, and only if they were expanded: half of the time.
    assert sum(len(seen) for seen in views.values()) >= 12


def test_loading_leaves_the_global_generators_alone(make_cfg) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1]
    list(make_train_loader(make_cfg(), [Painted(5)]))
    list(make_test_loader(make_cfg(), Painted(5)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_test_batches(make_cfg) -> None:
    dataset = Painted(7)
    batches = list(make_test_loader(make_cfg(**{"TEST.BATCH_SIZE": 3, "INPUT.IMAGE_SIZE": (24, 32)}), dataset))
    assert [len(ids) for _, _, ids in batches] == [3, 3, 1]
    images, sizes, ids = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert (images.shape, images.dtype) == ((7, 3, 24, 32), torch.uint8)
    assert ids.tolist() == list(range(7))
    assert sizes.tolist() == [list(dataset[i][0].shape[:2]) for i in range(7)]
    assert sizes.dtype == torch.int64


def test_the_golden_test_transform(goldens, make_cfg) -> None:
    golden = dict(np.load(goldens / "lufficc" / "transforms.npz"))

    class One(Painted):
        def __getitem__(self, index):
            return golden["image"], Container(boxes=np.empty((0, 4))), index

    cfg = make_cfg()
    ((images, _, _),) = make_test_loader(cfg, One(1))
    # uint8 is rounded to whole grey levels, lufficc resizes float images.
    result = make_batch_transform(cfg, is_train=False)(images)[0].numpy()
    np.testing.assert_allclose(result, golden["test_pipeline32_image"], atol=0.51)


def test_a_worker_has_one_thread_and_serves_again(make_cfg, monkeypatch) -> None:
    def own_number() -> tuple[int, int]:
        return divmod(os.getpid() % 2**16, 2**8)

    class Threads(Painted):
        def __getitem__(self, index):
            has_one = cv2.getNumThreads() == torch.get_num_threads() == 1
            return np.array([[[has_one, *own_number()]]], np.uint8), Container(boxes=np.empty((0, 4))), index

    monkeypatch.setattr(build, "available_cores", lambda: 1)
    loader = make_test_loader(make_cfg(**{"DATA_LOADER.NUM_WORKERS": 64, "INPUT.IMAGE_SIZE": 1}), Threads(2))
    assert loader.num_workers == 1  # never more than cores
    assert loader.pin_memory == torch.cuda.is_available()
    passes = [torch.cat([images for images, _, _ in loader]).flatten(1).tolist() for _ in range(2)]
    assert passes[0] == passes[1]
    assert [told[0] for told in passes[0]] == [1, 1]
    assert tuple(passes[0][0][1:]) != own_number()


# Prints what becomes of a loader whose worker gets SIGTERM, first from a stranger, then from its own process.
LOADER = """
import os, signal, subprocess
from torch.utils.data import DataLoader
from ssd.data.build import init_worker

class Pids:
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        return os.getpid()

batches = iter(DataLoader(Pids(), num_workers=1, worker_init_fn=init_worker, multiprocessing_context="fork"))
(pid,) = next(batches).tolist()
for number in (signal.SIGTERM, signal.SIGINT):
    subprocess.run(["/bin/kill", f"-{number.value}", str(pid)], check=True)
    assert all(next(batches).tolist() == [pid] for _ in range(20))
print("alive")
worker = batches._workers[0]
worker.terminate()
worker.join(20)
print("ended", worker.exitcode)
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="nothing tells who has sent a signal")
def test_a_worker_ends_when_its_process_says_so_and_not_when_others_do(forks, tmp_path) -> None:
    (tmp_path / "loader.py").write_text(LOADER)
    assert forks(tmp_path / "loader.py", cwd=tmp_path) == ([0], "alive\nended 0\n")


def test_an_unknown_class_that_differs_in_spaces(write_voc, make_cfg) -> None:
    root = write_voc({"a": [("sea lion", (1, 1, 9, 9))]})
    cfg = make_cfg({"set": custom_voc(root, CLASSES=["cat", "SeaLion"])}, **{"DATASETS.TRAIN": ("set",)})
    with pytest.raises(DatasetError, match="'sea lion'; did you mean 'SeaLion'"):
        build_datasets(cfg, is_train=True)


def test_class_names_that_differ_in_case_are_pointed_out(write_voc, make_cfg, caplog) -> None:
    root = write_voc({"a": [("cat", (1, 1, 9, 9)), ("Cat", (1, 1, 9, 9))]})
    build_datasets(make_cfg({"set": custom_voc(root)}, **{"DATASETS.TRAIN": ("set",)}), is_train=True)
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert message.endswith(": 'Cat' and 'cat'")
