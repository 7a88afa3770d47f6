import pickle
from pathlib import Path

import pytest

from ssd.utils import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.DatasetError, ValueError),
        (errors.ImageError, ValueError),
        (errors.OutputError, OSError),
        (errors.CheckpointError, RuntimeError),
        (errors.DeviceError, RuntimeError),
        (errors.DownloadError, OSError),
    ],
)
def test_errors_are_ours_and_of_a_standard_kind(error: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(errors.SSDError, match=r"^place: what$") as caught:
        raise error("place: what")
    assert isinstance(caught.value, builtin)


def test_no_error_class_is_left_out_of_the_family() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(value, errors.SSDError) for value in classes)


def test_a_dataset_error_carries_its_place_and_survives_a_worker() -> None:
    error = errors.DatasetError("a.xml: object 2: what", path=Path("a.xml"), field="object 2", kind="unknown class")
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert (str(one), one.path, one.field, one.kind) == (
            *("a.xml: object 2: what", "a.xml", "object 2", "unknown class"),
        )
    plain = errors.DatasetError("what")
    assert (plain.path, plain.field, plain.kind) == (None, "", "malformed annotation")
