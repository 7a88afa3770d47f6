"""The console command `ssd`; `python -m ssd` runs it too."""

import sys
from collections.abc import Mapping, Sequence

from ssd.commands.subcommands import Commands, run_command
from ssd.utils.logger import say
from ssd.version import __version__

GROUPS: Mapping[str, Commands] = {
    "Start": {
        "fit": ("ssd.commands.fit", "make a detector and a report from a folder of annotated images"),
        "predict": ("ssd.commands.predict", "detect in images and videos, and draw or write the detections"),
        "models": ("ssd.commands.models", "list the published detectors that have a name here"),
        "doctor": ("ssd.commands.doctor", "check the installation"),
    },
    "Data": {
        "data": ("ssd.commands.data", "check, browse, split, convert or render datasets, and fit anchors to them")
    },
    "Train": {
        "train": ("ssd.commands.train", "train a detector by a config"),
        "test": ("ssd.commands.test", "evaluate a detector, and write a report"),
    },
    "Look inside": {"explain": ("ssd.commands.explain", "show anchors, matches and detections of one image")},
    "Ship": {
        "export": ("ssd.commands.export", "write a detector as an ONNX file or a torch.export program"),
        "convert": ("ssd.commands.convert", "convert checkpoints of other SSDs, and ours to lufficc/SSD"),
    },
}
COMMANDS: Commands = {name: entry for group in GROUPS.values() for name, entry in group.items()}
# The name in lufficc/SSD, and those of version 1.
HIDDEN = {"demo": "ssd.commands.demo", "check-data": "ssd.commands.check_data", "priors": "ssd.commands.priors"}
# Names in other libraries.
MEANT = {
    **dict.fromkeys(("val", "eval", "evaluate", "validate"), "test"),
    **dict.fromkeys(("detect", "infer", "inference", "track"), "predict"),
    **{"check": "data check", "browse": "data browse", "split": "data split", "anchors": "data anchors"},
    **{"zoo": "models", "list": "models", "finetune": "fit", "checks": "doctor"},
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that ``args`` (None = those of the process) begins with, and return its exit status."""
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] in (["--version"], ["-v"], ["-V"]):
        say(f"ssd-detector {__version__}\n")
        return 0
    description = "SSD for PyTorch: train object detectors on your images, see where they fail, and export them."
    return run_command("ssd", description, GROUPS, words, hidden=HIDDEN, meant=MEANT)


if __name__ == "__main__":
    sys.exit(main())
