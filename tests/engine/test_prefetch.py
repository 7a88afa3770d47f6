import pytest
import torch

from ssd.engine.prefetch import prefetch
from ssd.structures import Container


def _batches(count: int):
    for number in range(count):
        images = torch.full((2, 3, 64, 64), number, dtype=torch.uint8)
        targets = Container(boxes=torch.full((2, 1, 4), float(number)), labels=torch.ones(2, 1, dtype=torch.int64))
        yield images, targets, torch.tensor([number, -number])


def test_on_a_cpu_batches_pass_through_one_by_one() -> None:
    taken = []

    def watched():
        for number, batch in enumerate(_batches(3)):
            taken.append(number)
            yield batch

    for number, (images, targets, ids) in enumerate(prefetch(watched(), torch.device("cpu"))):
        assert taken == list(range(number + 1))
        assert images.unique().tolist() == targets["boxes"].unique().tolist() == [number]
        assert ids.tolist() == [number, -number]
    assert len(taken) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 5])
def test_on_cuda_batches_arrive_whole_and_in_order(count) -> None:
    pinned = ((images.pin_memory(), targets.pin_memory(), ids) for images, targets, ids in _batches(count))
    seen = []
    for images, targets, ids in prefetch(pinned, torch.device("cuda")):
        assert images.is_cuda
        assert targets["boxes"].is_cuda
        assert not ids.is_cuda
        torch.cuda._sleep(10**7)  # the next copy is there before this batch is done with
        seen.append((images.float().mean(), targets["boxes"].mean(), ids[0]))
    assert [tuple(map(int, row)) for row in seen] == [(number,) * 3 for number in range(count)]
