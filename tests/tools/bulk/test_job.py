import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd.config import Config, load_config
from ssd.tools.bulk.job import Job, default_part_size, digest_listing, make_detector_digest


def make_job(num_images: int, part_size: int) -> Job:
    return Job(
        listing="", num_images=num_images, detector="", class_names=("__background__", "a"),
        score_threshold=0.0, tile=None, format="jsonl", part_size=part_size,
    )  # fmt: skip


def test_parts_of_seven_images() -> None:
    job = make_job(7, 3)
    assert job.num_parts == 3
    assert [job.images_of(part) for part in range(3)] == [range(3), range(3, 6), range(6, 7)]


@given(num_images=st.integers(1, 10**7), part_size=st.integers(1, 10**4))
def test_parts_divide_the_images(num_images: int, part_size: int) -> None:
    job = make_job(num_images, part_size)
    last = job.num_parts - 1
    assert job.images_of(last).stop == num_images
    assert 1 <= len(job.images_of(last)) <= part_size
    assert job.images_of(last).start == last * part_size
    assert len(job.images_of(0)) == min(part_size, num_images)


@pytest.mark.parametrize(
    ("num_images", "part_size"),
    [(1, 32), (32 * 64, 32), (32 * 64 + 1, 33), (6400, 100), (64_000, 1000), (1_000_000, 1000)],
)
def test_the_part_size_follows_the_listing(num_images: int, part_size: int) -> None:
    assert default_part_size(num_images) == part_size


def test_a_listing_is_known_by_its_names_in_their_order() -> None:
    listings = [["a", "b"], ["b", "a"], ["a"], ["ab"], ["a", "b", ""], ["caf\udce9"]]
    assert len({digest_listing(files) for files in listings}) == len(listings)
    assert digest_listing(["a", "b"]) == digest_listing(("a", "b"))


def test_a_detector_is_known_by_its_weights_and_its_configuration() -> None:
    weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3), "c": torch.zeros(2, dtype=torch.bfloat16)}

    def config(*overrides: object) -> Config:
        return load_config(None, overrides)

    first = make_detector_digest(config(), weights)
    assert make_detector_digest(config("MODEL.DEVICE", "cpu", "SOLVER.LR", 1.0), dict(weights)) == first
    others = [
        make_detector_digest(config("TEST.NMS_THRESHOLD", 0.3), weights),
        make_detector_digest(config("INPUT.IMAGE_SIZE", 512), weights),
        make_detector_digest(config(), {**weights, "a": torch.nextafter(weights["a"], torch.tensor(9.0))}),
        make_detector_digest(config(), {**weights, "a": weights["a"].view(2, 1)}),
        make_detector_digest(config(), {**weights, "a": weights["a"].view(torch.int32)}),
        make_detector_digest(config(), {"z" + name: value for name, value in weights.items()}),
    ]
    assert len({first, *others}) == 1 + len(others)
