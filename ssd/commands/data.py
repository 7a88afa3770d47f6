"""The command `ssd data`: the commands about datasets."""

from collections.abc import Sequence

from ssd.commands.subcommands import Commands, make_command_parser, run_command

COMMANDS: Commands = {
    "browse": ("ssd.commands.data_browse", "draw training images beside what the augmentation makes of them"),
    "convert": ("ssd.commands.data_convert", "write a dataset in another format"),
    "scenes": ("ssd.commands.data_scenes", "render the dataset of the quickstart"),
    "split": ("ssd.commands.data_split", "divide a dataset into parts to train and to test on"),
}


def main(args: Sequence[str]) -> int:
    """Run `ssd data`."""
    parser = make_command_parser("ssd data", "Datasets: pictures, formats and parts.", COMMANDS)
    return run_command(parser, COMMANDS, args)
