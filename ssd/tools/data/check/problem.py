"""One thing that is wrong with a dataset."""

from dataclasses import dataclass

from ssd.data.datasets.policy import CLIPPED, ErrorPolicy
from ssd.data.datasets.sizes import SIZE_SLIP
from ssd.utils.errors import DatasetError, SSDError

# Kinds that no reader names, because each image for itself is sound.
DUPLICATE, OVERLAP = "duplicate image", "train/test overlap"
UNUSABLE = "unusable dataset"
# What training and evaluation cope with. Everything else is an error.
_WARNINGS = (DUPLICATE, SIZE_SLIP, f"box {CLIPPED}")


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where.

    Attributes:
        kind: a few words by which problems are counted.
        path: the file at fault; empty = none.
        field: the place in it; empty = the file as a whole.
        message: for people; names path and field too.
    """

    kind: str
    path: str
    field: str
    message: str

    @property
    def is_error(self) -> bool:
        """Whether an image, an annotation or an object is lost, or a figure would be wrong."""
        return self.kind not in _WARNINGS


def to_problem(error: SSDError, kind: str | None = None) -> Problem:
    """Return the problem that an error tells of; ``kind`` goes before its own."""
    if isinstance(error, DatasetError):
        return Problem(kind or error.kind, error.path or "", error.field, str(error))
    return Problem(kind or UNUSABLE, "", "", str(error))


class CollectErrors(ErrorPolicy):
    """The policy of one who wants to know all: nothing is raised, everything is kept. See ``ErrorPolicy``.

    Attributes:
        problems: so far.
    """

    wants_notes = True

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def reject(self, error: DatasetError) -> None:
        """Keep the error; what it names is left out."""
        self.problems.append(to_problem(error))

    def note(self, error: DatasetError) -> None:
        """Keep the error; what it names was mended or left out."""
        self.problems.append(to_problem(error))
