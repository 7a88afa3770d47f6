"""Formats: checkpoints of other projects, one project a file. Each says how its files are recognised and converted."""

from ssd.weights.formats import amdegroot, lufficc, mmdet, nvidia, qfgaohao, sgrvinod, torchvision, uvipen
from ssd.weights.formats.format import Converted, Format

__all__ = ["FORMATS", "Converted", "Format"]

# By the name that `ssd convert --from` takes.
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        *lufficc.FORMATS,
        *amdegroot.FORMATS,
        *sgrvinod.FORMATS,
        *torchvision.FORMATS,
        *mmdet.FORMATS,
        *nvidia.FORMATS,
        *uvipen.FORMATS,
        *qfgaohao.FORMATS,
    )
}
