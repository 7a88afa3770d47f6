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
        (errors.MissingPackageError, ImportError),
    ],
)
def test_errors_are_of_a_standard_kind(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, errors.SSDError)
    assert issubclass(error, builtin)
    assert str(error("place: reason")) == "place: reason"


def test_a_dataset_error_carries_its_place_and_survives_a_worker() -> None:
    error = errors.DatasetError("a.xml: object 2: reason", path=Path("a.xml"), field="object 2", kind="unknown class")
    one = pickle.loads(pickle.dumps(error))
    assert str(one) == "a.xml: object 2: reason"
    assert (one.path, one.field, one.kind) == ("a.xml", "object 2", "unknown class")


def test_an_extra_that_is_missing() -> None:
    with pytest.raises(errors.MissingPackageError, match=r"no_such_package.*pip install .*\[timm\]'$"):
        errors.import_extra("no_such_package", "timm")


@pytest.mark.parametrize("value", ["x" * 9999, list(range(9999)), 10**4000, {"a": [[[[[[[[1]]]]]]]] * 999}])
def test_long_and_deep_values_are_cut(value: object) -> None:
    assert len(errors.shorten(value)) < 2000
