"""All kinds of foreign checkpoints, and which of them a file is."""

import difflib
from collections.abc import Sequence

from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.formats import (
    amdegroot,
    lufficc,
    mlperf,
    mmdet_ssd,
    mmdet_ssdlite,
    nvidia,
    qfgaohao_mobilenet,
    qfgaohao_mobilenetv3,
    qfgaohao_squeezenet,
    qfgaohao_vgg,
    sgrvinod,
    torchvision_ssd300,
    torchvision_ssdlite,
    uvipen_ssdlite,
)
from ssd.weights.formats.reading import CheckpointContent
from ssd.weights.formats.source import Converted, Source

SOURCES: tuple[Source, ...] = (
    lufficc.SOURCE,
    amdegroot.SOURCE,
    sgrvinod.SOURCE,
    torchvision_ssd300.SOURCE,
    torchvision_ssdlite.SOURCE,
    mmdet_ssd.SOURCE,
    mmdet_ssdlite.SOURCE,
    nvidia.SOURCE,
    mlperf.SOURCE,
    uvipen_ssdlite.SOURCE,
    qfgaohao_vgg.SOURCE,
    *qfgaohao_mobilenet.SOURCES,
    *qfgaohao_mobilenetv3.SOURCES,
    qfgaohao_squeezenet.SOURCE,
)

_MAX_SHOWN = 3


def find_source(checkpoint: CheckpointContent, name: str = "auto") -> Source:
    """Tell what kind of checkpoint this is.

    Args:
        checkpoint: see ``read_weights``.
        name: of the kind; "auto" = by the names of its tensors.

    Raises:
        CheckpointError: it is of no kind that is known, or not of this one.
        ConfigError: there is no kind of this name.
    """
    names = list(checkpoint.weights)
    if name == "auto":
        if found := _recognising(names):
            return found[0]
        raise CheckpointError(
            f"{checkpoint.source} is of no kind that is known: its {len(names)} tensors are named {_sample(names)}. "
            f"{_nearest(names)}The weights of a backbone alone go to MODEL.BACKBONE.PRETRAINED; for a changed network "
            f"see docs/interop.md. The kinds are {_kinds()}"
        )
    source = _by_name(name)
    missing = source.missing_marks(names)
    if missing:
        others = ", ".join(other.name for other in _recognising(names)) or "nothing that is known"
        raise CheckpointError(
            f"{checkpoint.source} is not of {source.title}: no tensor of it is named like {_shown(missing[0])}. It "
            f"looks like {others}; its {len(names)} tensors are named {_sample(names)}"
        )
    return source


def convert(checkpoint: CheckpointContent, source: Source) -> Converted:
    """Bring a checkpoint of a kind into the terms of this library, its weights in float32.

    Raises:
        CheckpointError: its weights are not what the kind has.
    """
    weights = {
        name: value.float() if value.is_floating_point() else value for name, value in checkpoint.weights.items()
    }
    try:
        return source.convert(weights, checkpoint.content)
    except CheckpointError as error:
        raise CheckpointError(
            f"{checkpoint.source} was recognised as {source.title}, but cannot be converted: {error}. If the file is "
            "as its author published it, it is a variant that is not known here; else fetch it again"
        ) from error


def _recognising(names: Sequence[str]) -> list[Source]:
    return [source for source in SOURCES if source.recognises(names)]


def _by_name(name: str) -> Source:
    for source in SOURCES:
        if source.name == name:
            return source
    close = difflib.get_close_matches(name, [source.name for source in SOURCES], n=1)
    meant = f"; did you mean {close[0]}? There" if close else "; there"
    raise ConfigError(f"there is no kind of checkpoint {name!r}{meant} are {_kinds()}")


def _nearest(names: Sequence[str]) -> str:
    """Say of which kind a file has some marks, as a sentence; empty = of none."""
    lacking = {source: source.missing_marks(names) for source in SOURCES}
    nearest = min(SOURCES, key=lambda source: len(lacking[source]) / len(source.marks))
    if len(lacking[nearest]) == len(nearest.marks):
        return ""
    shown = ", ".join(map(_shown, lacking[nearest]))
    return f"It is most like {nearest.name}, but has no tensors named like {shown}. "


def _shown(mark: str) -> str:
    """A regular expression, for a message."""
    return mark.removesuffix("$").replace("\\.", ".")


def _kinds() -> str:
    return ", ".join(source.name for source in SOURCES)


def _sample(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_SHOWN]) + (", ..." if len(names) > _MAX_SHOWN else "")
