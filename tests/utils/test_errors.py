import pickle
from pathlib import Path

import pytest

from ssd.utils import errors


@pytest.mark.parametrize(
    ("builtin", "kinds"),
    [
        (ValueError, [errors.ConfigError, errors.DatasetError, errors.ImageError]),
        (OSError, [errors.OutputError, errors.DownloadError]),
        (RuntimeError, [errors.CheckpointError, errors.DeviceError]),
        (ImportError, [errors.MissingPackageError]),
    ],
)
def test_errors_are_of_a_standard_kind(builtin: type[Exception], kinds: list[type[Exception]]) -> None:
    for error in kinds:
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


def test_some_names_stand_for_all() -> None:
    assert errors.join_some([]) == ""
    assert errors.join_some("abc", 3) == "a, b, c"
    assert errors.join_some("abcde", 3, "; ") == "a; b; c and 2 more"
