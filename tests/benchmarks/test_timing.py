import pytest

from benchmarks.report import format_comparison, format_ratio
from benchmarks.timing import QUICK, Comparison, Effort, NotMeasuredError, Row, Spread, Timer, compare, ratio_between


def constant(seconds: float) -> Timer:
    return lambda calls: calls * seconds


def broken(error: Exception) -> Timer:
    def timer(calls: int) -> float:
        raise error

    return timer


def test_compare() -> None:
    assert Spread.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(2.0, 3.0, 4.0)
    comparison = compare("t", {"ssd": constant(0.2), "other": constant(0.8)}, Effort(), items=4)
    ours, other = comparison.rows
    assert comparison.unit == "ms/image"
    assert (ours.value.median, ours.ratio) == (pytest.approx(50), None)  # 0.2 s for four images
    assert (other.value.median, other.ratio and other.ratio.median) == (pytest.approx(200), pytest.approx(0.25))
    assert ratio_between(comparison, "other", "ssd") == pytest.approx(4)


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that gets ten times slower does not change them."""
    pace = iter([1.0, 1.0] * 2 + [1.0, 1.0] + [10.0, 10.0] + [100.0, 100.0])

    def timer(seconds: float) -> Timer:
        return lambda calls: calls * seconds * next(pace)

    comparison = compare("t", {"ssd": timer(1.0), "other": timer(2.0)}, Effort(rounds=3, seconds=0))
    ratio = comparison.rows[1].ratio
    assert ratio == Spread(0.5, 0.5, 0.5)
    assert comparison.rows[1].rounds == [2000.0, 20_000.0, 200_000.0]


def test_turns() -> None:
    """A warm-up call and one to see how many make a turn of 0.4 s; then turns, whose order alternates."""
    log: list[str] = []

    def logged(name: str, seconds: float) -> Timer:
        return lambda calls: log.append(f"{name}{calls}") or calls * seconds  # type: ignore[func-returns-value]

    compare("t", {"a": logged("a", 0.1), "b": logged("b", 0.25)}, Effort(rounds=2, seconds=0.4))
    assert log == ["a1", "a1", "b1", "b1", "a4", "b2", "b2", "a4"]


@pytest.mark.parametrize(
    ("effort", "rounds"),
    [
        (Effort(rounds=9, seconds=0, limit=5.5), 5),  # a round takes 1 s
        (Effort(rounds=9, seconds=0, limit=0.1), 3),
        (Effort(rounds=4, seconds=0, limit=100), 4),
        (QUICK, 1),
    ],
)
def test_rounds(effort: Effort, rounds: int) -> None:
    comparison = compare("t", {"a": constant(0.25), "b": constant(0.75)}, effort)
    assert [len(row.rounds) for row in comparison.rows] == [rounds, rounds]


def test_candidates_that_cannot_run() -> None:
    """Others get a note; ours must run, and its bugs are not hidden."""
    peer, gpu = broken(NotMeasuredError("not there")), broken(RuntimeError("no memory"))
    comparison = compare("t", {"ssd": constant(1), "peer": peer, "gpu": gpu}, QUICK)
    assert [row.name for row in comparison.rows] == ["ssd"]
    assert comparison.notes == ["peer: not measured: not there", "gpu: not measured: no memory"]
    with pytest.raises(NotMeasuredError, match="ssd: not measured: broken"):
        compare("t", {"ssd": broken(NotMeasuredError("broken")), "other": constant(1)}, QUICK)
    with pytest.raises(KeyError):
        compare("t", {"ssd": broken(KeyError("a bug"))}, QUICK)


def test_format() -> None:
    assert format_ratio(1.204) == "1.20"
    assert format_ratio(0.2) == "1/5.00"
    spread, ratio = Spread(1.0, 2.0, 3.0), Spread(0.1, 0.2, 1.5)
    rows = [Row("ssd", spread), Row("other", spread, ratio)]
    lines = format_comparison(Comparison("Title", "ms/image", rows, {"images/s": 1234.5}, ["a note"])).splitlines()
    assert lines[0] == "Title (ms/image)"
    assert lines[1].split() == ["ssd", "2", "[1,", "3]"]
    assert lines[2].endswith("ours takes 1/5.00 [1/10.00, 1.50]")
    assert lines[3:] == ["  images/s: 1,234", "  a note"]
