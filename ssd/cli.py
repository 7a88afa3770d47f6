"""The console command `ssd`, also `python -m ssd.cli`."""

import sys
from collections.abc import Sequence

from ssd.commands.subcommands import Commands, make_command_parser, run_command
from ssd.version import __version__

COMMANDS: Commands = {
    "check-data": ("ssd.commands.check_data", "list all mistakes in the datasets of a config"),
    "convert": ("ssd.commands.convert", "convert checkpoints of other SSDs, and ours to lufficc/SSD"),
    "data": ("ssd.commands.data", "draw, convert, render and split datasets"),
    "demo": ("ssd.commands.demo", "detect in images and videos, and draw the detections"),
    "doctor": ("ssd.commands.doctor", "check the installation"),
    "explain": ("ssd.commands.explain", "show priors, matches and detections of one image"),
    "export": ("ssd.commands.export", "write a detector as an ONNX file or a torch.export program"),
    "fit": ("ssd.commands.fit", "make a detector and a report from a folder of annotated images"),
    "models": ("ssd.commands.models", "list the published detectors that have a name here"),
    "predict": ("ssd.commands.predict", "detect in many images, by many processes or machines"),
    "priors": ("ssd.commands.priors", "show how priors cover the training boxes, and fit them"),
    "test": ("ssd.commands.test", "evaluate a detector"),
    "train": ("ssd.commands.train", "train a detector"),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that ``args`` (None = those of the process) begins with, and return its exit status."""
    parser = make_command_parser("ssd", "Single Shot MultiBox Detector for PyTorch.", COMMANDS)
    parser.add_argument("--version", action="version", version=f"ssd-detector {__version__}")
    return run_command(parser, COMMANDS, args)


if __name__ == "__main__":
    sys.exit(main())
