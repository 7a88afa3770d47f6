"""The command `ssd convert`: checkpoints of other projects to ours, and ours to lufficc/SSD."""

import argparse
from collections.abc import Sequence

from ssd.commands.arguments import Parser
from ssd.commands.run import run_script
from ssd.config import load_config
from ssd.utils.errors import ConfigError
from ssd.utils.logger import say, setup_logger
from ssd.weights.convert import convert_to_lufficc, convert_to_ours, prepare_output
from ssd.weights.formats import all_formats, lufficc
from ssd.weights.trained import own_config, read_detector


def main(args: Sequence[str]) -> int:
    """Run `ssd convert`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd convert`."""
    description = (
        "Convert the checkpoint of another SSD, and write the config that builds its network; or, with --to lufficc, "
        f"write one of ours for lufficc/SSD. Formats: {', '.join(all_formats())}."
    )
    words = ("FILE", "path or URL of the checkpoint, or its name in `ssd models`")
    parser = Parser("ssd convert", description, "ssd convert ssd300_mAP_77.43_v2.pth -o voc.pth", words, keys=False)
    parser.add_output("file to write, such as voc.pth", "FILE", required=True)
    parser.add_flag("--from", "KIND", "its format (default: by its tensors)", dest="format", default="auto")
    help_text = "names of the classes, without background (default: as the file says, or those of VOC or COCO)"
    parser.add_flag("--classes", "A,B,...", help_text, default="")
    help_text = "images that give batch norms their statistics, in a file that has folded them into convolutions"
    parser.add_flag("--images", "FOLDER", help_text)
    parser.add_flag("--to", "PROJECT", "write a file for this project", choices=["lufficc"])
    parser.add_config("with --to: config of FILE (default: the one that it carries)")
    return parser.parse_word(args, "checkpoint", "FILE")


def run(args: argparse.Namespace) -> None:
    """Convert as the command line says."""
    setup_logger(None)
    classes = parse_classes(args.classes)
    prepare_output(args.output, args.checkpoint, has_config=args.to is None)
    if args.to is not None:
        if args.images is not None or classes:
            option = "--images" if args.images is not None else "--classes"
            raise ConfigError(f"{option} goes without --to: convert to a file of this library first")
        write_for_lufficc(args)
    elif args.config_file is not None:
        raise ConfigError("--config-file goes with --to; without it the config is written, not read")
    else:
        write_ours(args, classes)


def parse_classes(text: str) -> list[str]:
    """Read the names in --classes."""
    names = [name.strip() for name in text.split(",")] if text else []
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"--classes {text!r}: names must differ, and none may be empty")
    return names


def write_ours(args: argparse.Namespace, classes: Sequence[str]) -> None:
    """Convert to a checkpoint of this library, and print a summary."""
    summary = convert_to_ours(args.checkpoint, args.output, args.format, classes, args.images)
    config = args.output.with_suffix(".yaml")
    say(
        f"\n{summary}\n\nWritten: {args.output}, {config}\n"
        f"Next: ssd predict {args.output} FOLDER\n      ssd train {config} DATASETS.TRAIN ...\n"
    )


def write_for_lufficc(args: argparse.Namespace) -> None:
    """Write a checkpoint for lufficc/SSD, and print the settings that it needs there."""
    checkpoint = read_detector(args.checkpoint, args.format)
    cfg = load_config(args.config_file) if args.config_file else own_config(checkpoint)
    differences = convert_to_lufficc(checkpoint, cfg, args.output)
    say(f"\nWritten for {lufficc.TITLE}: {args.output}\n")
    for difference in differences:
        say(f"There differs: {difference}\n")
