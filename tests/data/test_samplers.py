from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd.data import build_datasets, make_train_loader
from ssd.data.samplers import IterationSampler, batch_images, repeat_factors, rng_at, share_of_batches


@pytest.mark.parametrize(("num_samples", "batch_size", "max_iter"), [(7, 3, 14), (2, 5, 10)])
def test_every_batch_is_full_and_epochs_are_permutations(num_samples, batch_size, max_iter) -> None:
    batches = list(IterationSampler(num_samples, batch_size, max_iter))
    assert [len(batch) for batch in batches] == [batch_size] * max_iter
    stream = [pair for batch in batches for pair in batch]
    assert [position for _, position in stream] == list(range(batch_size * max_iter))
    indices = [index for index, _ in stream]
    epochs = [indices[start : start + num_samples] for start in range(0, len(indices), num_samples)]
    assert all(sorted(epoch) == list(range(num_samples)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 12), st.integers(0, 2**32))
def test_a_later_start_gives_the_tail(num_samples, batch_size, start, seed) -> None:
    full = IterationSampler(num_samples, batch_size, 10, seed=seed)
    tail = IterationSampler(num_samples, batch_size, 10, start, seed)
    assert list(tail) == list(full)[start:]
    assert len(tail) == max(10 - start, 0)


def test_processes_share_the_batches_of_one() -> None:
    one = list(IterationSampler(11, 6, 9, seed=3))
    two = [list(IterationSampler(11, 3, 9, seed=3, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*two, strict=True)] == one
    assert [position for _, position in two[1][0]] == [3, 4, 5]


def test_numbers_are_a_function_of_seed_and_position() -> None:
    first = rng_at(3, 7).random(5)
    assert first[:2].tolist() == [0.16091386323260937, 0.8229551752810966]  # as in version 1.0.0
    np.testing.assert_array_equal(rng_at(3, 7).random(5), first)
    others = [rng_at(seed, position).random(5) for seed, position in ((3, 8), (4, 7), (7, 3))]
    assert not any(np.isin(other, first).any() for other in others)


def test_neighbouring_positions_are_independent() -> None:
    numbers = np.array([rng_at(0, position).random(2) for position in range(4000)])
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 4000)
    correlations = np.corrcoef(np.stack([numbers[:-1, 0], numbers[1:, 0], numbers[:-1, 1]]))
    assert np.abs(correlations - np.eye(3)).max() < 4 / np.sqrt(4000)


@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 9))
def test_shares_are_the_batches_of_one_process(num_samples: int, batch_size: int, world_size: int) -> None:
    shares = [share_of_batches(num_samples, batch_size, rank, world_size) for rank in range(world_size)]
    whole = share_of_batches(num_samples, batch_size, 0, 1)
    assert [batch for share in shares for batch in share] == whole
    assert [index for batch in whole for index in batch] == list(range(num_samples))
    assert all(len(batch) == batch_size for batch in whole[:-1])
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("world_size", "threshold"), [(1, 0.0), (2, 0.0), (2, 0.9)])
def test_the_images_of_a_batch_are_named(write_voc, make_cfg, world_size: int, threshold: float) -> None:
    """Those of all processes, from the loader of any, whether the training was continued or not."""
    roots = [
        write_voc({name: [(label, (5, 5, 20, 25))] for name in names}, root=root)
        for root, names, label in (("one", "abcde", "dog"), ("two", "fg", "cat"))
    ]
    sets = {str(i): {"FORMAT": "voc", "ROOT": str(root), "SPLIT": "train"} for i, root in enumerate(roots)}
    cfg = make_cfg(sets, **{"DATASETS.TRAIN": ("0", "1"), "SOLVER.SEED": 7, "DATA_LOADER.REPEAT_THRESHOLD": threshold})
    datasets = build_datasets(cfg, is_train=True)
    loaders = [make_train_loader(cfg, datasets, rank=rank, world_size=world_size) for rank in range(world_size)]
    continued = make_train_loader(cfg, datasets, 3, rank=world_size - 1, world_size=world_size)
    for iteration, parts in enumerate(zip(*loaders, strict=True), start=1):
        shown = ["abcdefg"[index] for index in torch.cat([ids for *_, ids in parts])]
        names = batch_images(loaders[-1], datasets, iteration)
        assert [Path(name).stem for name in names] == shown
        assert all(Path(name).is_file() for name in names)
        assert batch_images(continued, datasets, iteration) == names


def test_images_without_files_are_named_by_id(make_cfg) -> None:
    class Elsewhere(list):
        def get_annotation(self, index: int) -> tuple:
            return 70 + index, ()

    datasets = [Elsewhere(range(4))]
    loader = make_train_loader(make_cfg(), datasets)
    assert sorted(batch_images(loader, datasets, 1)) == [f"image {70 + index}" for index in range(4)]


def test_repeat_factors_by_hand() -> None:
    """Class 1 is in all of four images, class 2 in two and class 3 in one."""
    labels = [np.array(image) for image in ([1, 1, 2], [1], [2, 1, 3], [1])]
    assert repeat_factors(labels, 0.25).tolist() == [1, 1, 1, 1]
    assert repeat_factors(labels, 1.0) == pytest.approx([2**0.5, 1, 2, 1])
    assert repeat_factors([np.array([]), np.array([1])], 1.0) == pytest.approx([1, 2**0.5])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1, 5), min_size=1, max_size=20), st.integers(0, 2**32))
def test_an_epoch_has_each_sample_as_often_as_its_factor_says(factors, seed) -> None:
    repeats = np.array(factors)
    size = round(repeats.sum())
    sampler = IterationSampler(len(repeats), size, 3, seed=seed, repeats=repeats)
    epochs = [[index for index, _ in batch] for batch in sampler]
    for epoch in epochs:
        counts = np.bincount(epoch, minlength=len(repeats))
        expected = repeats * (size / repeats.sum())
        assert (counts >= np.floor(expected - 1e-9)).all()
        assert (counts <= np.ceil(expected + 1e-9)).all()
    tail = IterationSampler(len(repeats), size, 3, 2, seed=seed, repeats=repeats)
    assert [[index for index, _ in batch] for batch in tail] == epochs[2:]


def test_repeats_are_shared_by_processes_and_right_in_the_mean() -> None:
    repeats = np.array([1, 2.5, 1, 1, 1.7])
    one = list(IterationSampler(5, 6, 9, seed=3, repeats=repeats))
    two = [list(IterationSampler(5, 3, 9, seed=3, rank=rank, world_size=2, repeats=repeats)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*two, strict=True)] == one
    rates = np.bincount([index for batch in IterationSampler(5, 8, 2000, repeats=repeats) for index, _ in batch])
    assert rates / rates.sum() == pytest.approx(repeats / repeats.sum(), rel=0.02)
