from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.structures import Container
from ssd.tools.bulk.part_folder import Job, PartFolder
from ssd.tools.bulk.rows import Failure
from ssd.tools.bulk.worker import detect_part, do_parts
from ssd.utils.interrupt import InterruptGuard


def make_job(files: Sequence[str], part_size: int = 7) -> Job:
    return Job("", len(files), "", ("__background__", "light"), 0.3, tile=None, format="jsonl", part_size=part_size)


@pytest.fixture
def predictor() -> Predictor:
    """A detector whose only box scores the brightness of an image."""

    def network(images: Tensor) -> list[Container]:
        found = []
        for score in images.float().mean(dim=(1, 2, 3)) / 255:
            boxes = torch.tensor([[1.0, 2.0, 30.0, 40.0]])
            found.append(Container(boxes=boxes, labels=torch.tensor([1]), scores=score[None]))
            found[-1].img_width, found[-1].img_height = images.shape[3], images.shape[2]
        return found

    return Predictor(network, (48, 64), ("__background__", "light"))


@pytest.fixture
def files(pictures: Path) -> list[str]:
    return [*(str(path) for path in sorted(pictures.iterdir())), "gone.jpg"]


def test_one_row_per_image_in_order(predictor: Predictor, files: list[str]) -> None:
    rows = list(detect_part(predictor, files, make_job(files * 2), 1, batch_size=2))
    assert [row.index for row in rows] == [*range(7, 14)]
    assert [row.name for row in rows] == [str(row.path) for row in rows] == files
    failed = {row.name: row.error for row in rows if isinstance(row, Failure)}
    assert list(failed) == [files[2], "gone.jpg"]
    assert all(error.startswith(f"{name}: ") for name, error in failed.items())
    assert all(row.pixels is None for row in rows if isinstance(row, Detections))


@pytest.mark.parametrize("stop_at", range(8))
def test_an_interrupt_keeps_whole_parts_only(predictor, files: list[str], tmp_path: Path, stop_at: int) -> None:
    class Interrupt(InterruptGuard):
        num_looks = 0

        @property
        def requested(self) -> bool:
            self.num_looks += 1
            return self.num_looks == stop_at

    folder = PartFolder(tmp_path / "found", make_job(files, part_size=3))
    folder.open()
    do_parts(predictor, files, folder, [0, 2], 2, interrupt=Interrupt())
    done = {0: [0, 2], 1: [], 2: [], 3: [], 4: [0]}.get(stop_at, [0, 2])
    assert folder.pending() == [part for part in range(3) if part not in done]
