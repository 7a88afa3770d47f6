"""List the published detectors that have a name here: ssd models [TEXT]."""

from collections.abc import Sequence

from ssd.commands.arguments import Parser, write_result
from ssd.utils.logger import say
from ssd.utils.model_zoo import zoo_models

_COLUMNS = ("name", "network", "size", "parameters", "gmac", "data", "figure", "licence", "verified", "cached")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args``; return 1 if no detector is found, else 0."""
    description = (
        "List published detectors. Their names are taken wherever a checkpoint is: ssd predict NAME photo.jpg, "
        "MODEL.WEIGHTS NAME, ssd.init_detector(NAME). `figure` is what the project reports, in percent: VOC 2007 test "
        "mAP, COCO AP, or AP of WIDER FACE (easy, medium, hard). Parameters are in millions; `gmac` is the work for "
        "one image, in billions of multiplications. `cached` files are on this machine already."
    )
    words = ("[TEXT]", "only rows that contain it, in any column")
    parser = Parser("ssd models", description, "ssd models mobilenet", words, keys=False)
    parser.add_json()
    parsed = parser.parse(args)
    text = " ".join(parsed.words)
    models = [{**model._asdict(), "cached": "yes" if model.find_cached() else ""} for model in zoo_models().values()]
    found = [model for model in models if text.lower() in " ".join(model.values()).lower()]
    if parsed.json:
        write_result(parsed.json, found)
    elif found:
        rows = [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *found]
        widths = {column: max(len(row[column]) for row in rows) for column in _COLUMNS}
        for row in rows:
            say("  ".join(f"{row[column]:<{widths[column]}}" for column in _COLUMNS).rstrip() + "\n")
    else:
        say(f"no detector has {text!r}; `ssd models` lists all\n")
    return 0 if found else 1
