"""The command `ssd convert`: checkpoints of other projects to ours, and back."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ssd.commands.arguments import add_flag
from ssd.commands.run import run_script
from ssd.config import load_config, parse_config
from ssd.config.node import with_num_classes
from ssd.utils.checkpoint_file import write_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError, OutputError, os_errors_as
from ssd.utils.files import atomic_write
from ssd.utils.logger import setup_logger
from ssd.utils.terminal import say
from ssd.weights.foreign import read_detector, with_levels
from ssd.weights.formats.sources import SOURCES
from ssd.weights.formats.targets import TARGETS
from ssd.weights.trained import build_trained_model, own_config, trained_class_names

logger = logging.getLogger(__name__)

_HEADER = "# The network of "  # the first words of a config that is written here


def main(args: Sequence[str]) -> int:
    """Run `ssd convert`."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd convert`."""
    parser = argparse.ArgumentParser(
        prog="ssd convert",
        description="Convert the checkpoint of another SSD, and write the config that builds its network; or, with "
        "--to, write one of ours for another project.",
        epilog=f"kinds of checkpoints: {', '.join(source.name for source in SOURCES)}",
    )
    parser.add_argument("checkpoint", metavar="FILE", help="path or URL of the checkpoint")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT.pth", help="what to write")
    help_text = "default: by the names of its tensors"
    parser.add_argument("--from", dest="kind", default="auto", metavar="KIND", help=help_text)
    help_text = "names of the classes, without background; default: as the file says, or those of VOC or COCO"
    parser.add_argument("--classes", default="", metavar="A,B,...", help=help_text)
    parser.add_argument("--to", choices=TARGETS, help="write a file for this project")
    help_text = "with --to: the config of FILE; default: the one that it carries"
    add_flag(parser, "--config-file", default=None, metavar="FILE", help=help_text)
    return parser.parse_args(args)


def run(args: argparse.Namespace) -> int:
    """Convert as the command line says, and return 0.

    Raises:
        CheckpointError: the checkpoint cannot be read, is of no known kind, or does not fit its network.
        ConfigError: options contradict each other; see ``read_detector``.
        DownloadError, MissingPackageError: see ``read_detector``.
        OutputError: a file cannot be written.
    """
    setup_logger(None)
    if args.output.suffix != ".pth":
        raise ConfigError(f"--output {args.output} must end in .pth")
    if args.output.exists() and Path(args.checkpoint).exists() and args.output.samefile(args.checkpoint):
        raise ConfigError(f"--output {args.output} is the file that is converted; name another one")
    _prepare(args.output, has_config=args.to is None)
    class_names = _parse_classes(args.classes)
    checkpoint = read_detector(args.checkpoint, args.kind, class_names)
    if args.to is not None:
        return write_for(args.to, checkpoint, args.config_file, args.output)
    if args.config_file is not None:
        raise ConfigError("--config-file goes with --to; without it the config is written, not read")
    if "config" not in checkpoint:
        checkpoint = read_detector(args.checkpoint, "lufficc", class_names)
    if class_names and "notes" not in checkpoint:  # it was converted before
        raise ConfigError(f"--classes is given, but {args.checkpoint} is of this library, and names its classes itself")
    return write_ours(checkpoint, args.output)


def _parse_classes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")] if text else []
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"--classes {text!r}: names must differ, and none may be empty")
    return names


def _prepare(output: Path, *, has_config: bool) -> None:
    """Make the folder, and see that a config beside ``output`` is none that somebody wrote."""
    with os_errors_as(OutputError, output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_dir():
        raise OutputError(f"{output} is a folder; name a file")
    config = output.with_suffix(".yaml")
    if has_config and config.exists() and not config.read_bytes().startswith(_HEADER.encode()):
        raise OutputError(
            f"{config} exists, and is none that `ssd convert` wrote: its own config would overwrite it. Name another "
            "--output"
        )


def write_ours(checkpoint: dict[str, Any], output: Path) -> int:
    """Write a converted checkpoint, and its config beside it.

    Args:
        checkpoint: see ``read_detector``; it carries a config.
        output: the file.
    """
    source = checkpoint["source"]
    cfg = own_config(checkpoint).clone()
    class_names = trained_class_names(cfg, checkpoint)
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.WEIGHTS_CLASSES = str(output), tuple(class_names[1:])
    cfg.MODEL.NUM_CLASSES = 0  # so that it also trains on other classes
    cfg.OUTPUT_DIR = str(Path("outputs") / output.stem)
    cfg.freeze()
    model: Any = build_trained_model(cfg, checkpoint, class_names, torch.device("cpu"))  # whatever does not fit raises
    converted_from = checkpoint["converted_from"] if "notes" in checkpoint else "this library"
    text = f"{_HEADER}{source} ({converted_from}), for {output.name}\n{cfg.dump()}"
    container = {"model": checkpoint["model"], "class_names": list(class_names), "config": text}
    with os_errors_as(OutputError, output):
        write_checkpoint(output, {**container, "converted_from": converted_from})
        with atomic_write(output.with_suffix(".yaml")) as file:
            file.write(text.encode())
    notes = "".join(f"\nNote: {note}" for note in checkpoint.get("notes", []))
    say(
        f"\n{source}: {converted_from}\n"
        f"{len(checkpoint['model'])} tensors, {len(class_names) - 1} classes ({_sample(class_names[1:])}), "
        f"{len(model.box_head.priors)} priors, backbone {cfg.MODEL.BACKBONE.NAME}, input {cfg.INPUT.IMAGE_SIZE}"
        f"{notes}\n\nWritten: {output}, {output.with_suffix('.yaml')}\n"
        f"Detect with it: ssd demo --ckpt {output} --images_dir FOLDER\n"
        f"Go on training: ssd train --config-file {output.with_suffix('.yaml')} DATASETS.TRAIN ...\n"
    )
    return 0


def write_for(name: str, checkpoint: dict[str, Any], config_file: str | None, output: Path) -> int:
    """Write a checkpoint for another project.

    Args:
        name: of the kind, see ``ssd.weights.formats.targets``.
        checkpoint: see ``read_detector``.
        config_file: its config; None = the one that it carries.
        output: the file.
    """
    target = TARGETS[name]
    cfg = load_config(config_file) if config_file else own_config(checkpoint)
    class_names = trained_class_names(cfg, checkpoint)
    build_trained_model(cfg, checkpoint, class_names, torch.device("cpu"))  # whatever does not fit raises
    try:
        content = target.restore(checkpoint["model"], tuple(class_names[1:]))
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint['source']} cannot be written for {target.title}: {error}") from error
    with os_errors_as(OutputError, output):
        write_checkpoint(output, content)
    say(f"\nWritten for {target.title}: {output}\n")
    complete = parse_config(with_levels(with_num_classes(cfg, class_names)).dump(), "levels")
    for difference in target.differences(complete):
        say(f"There differs: {difference}\n")
    return 0


def _sample(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
