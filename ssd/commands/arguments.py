"""Command lines: positional words by their content, flags in both spellings, mistakes answered in one line."""

import argparse
import difflib
import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ssd.utils.errors import ConfigError
from ssd.utils.files import write_json
from ssd.utils.logger import say

CONFIG_HELP = "YAML file, or the name of one of the library's configs, such as quickstart or vgg_ssd300_voc0712"
_MODEL_HELP = "folder of a run, file, URL or name of `ssd models`; or a config: the last checkpoint of its OUTPUT_DIR"
MODEL = ("MODEL", _MODEL_HELP)
OVERRIDES_HELP = "config keys, such as SOLVER.LR 1e-3 or SOLVER.LR=1e-3"
SPELLINGS_OF_CONFIG = ("--config", "--cfg", "--data")
SPELLINGS_OF_THRESHOLD = ("--score-threshold", "--conf", "--conf-thres", "--confidence")
_INDENT = 24  # of help texts, as argparse has it
_MODEL_SUFFIXES = (".pth", ".pt", ".onnx", ".pt2", ".safetensors", ".caffemodel", ".tflite", ".pb")

# Flags of other libraries, and the config keys that do the same here.
_KEYS = {
    **dict.fromkeys(("--batch-size", "--batch", "--bs"), "SOLVER.BATCH_SIZE"),
    **dict.fromkeys(("--lr", "--lr0", "--learning-rate"), "SOLVER.LR"),
    **dict.fromkeys(("--iterations", "--iters", "--max-iter", "--steps"), "SOLVER.MAX_ITER"),
    **dict.fromkeys(("--imgsz", "--img-size", "--image-size", "--size"), "INPUT.IMAGE_SIZE"),
    **dict.fromkeys(("--workers", "--num-workers"), "DATA_LOADER.NUM_WORKERS"),
    **dict.fromkeys(("--weights", "--model", "--pretrained", "--ckpt"), "MODEL.WEIGHTS"),
    **dict.fromkeys(("--iou", "--iou-thres", "--nms"), "TEST.NMS_THRESHOLD"),
    **dict.fromkeys(("--max-det", "--max-detections"), "TEST.MAX_PER_IMAGE"),
    **{f"--{name.replace('_', '-').lower()}": f"SOLVER.{name}" for name in ("OPTIMIZER", "WEIGHT_DECAY", "EMA", "AMP")},
}
_NOTES = {
    "--epochs": "the length is SOLVER.MAX_ITER N, in iterations: epochs x images / SOLVER.BATCH_SIZE",
    "--resume": "leave it out: the same command continues a run that was interrupted",
}


class Parser(argparse.ArgumentParser):
    """Reads positional words, flags and overrides of config keys, in any order.

    ``words`` are METAVAR and help of the positional words, which ``parse`` returns unsorted. A mistake ends the process
    with one line that has the remedy, and status 2.
    """

    def __init__(
        self, prog: str | None, description: str, example: str, *words: tuple[str, str], has_keys: bool = True
    ):
        names = " ".join(f"[{name}]" if name.endswith("?") else name for name, _ in words).replace("?", "")
        keys = " [KEY VALUE ...]" if has_keys else ""
        rows = [*words, *([("KEY VALUE", OVERRIDES_HELP)] if has_keys else [])]
        super().__init__(
            prog,
            usage=f"%(prog)s {names} [options]{keys}".replace("  ", " "),
            description=_fill(description) + "\n\n" + "\n".join(_row(name.rstrip("?"), text) for name, text in rows),
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.example, self._has_keys = example, has_keys
        self._flags = {"--help": "--help"}  # canonical spelling by spelling
        self._key_flags: dict[str, str] = {}
        self.add_argument("words", nargs="*", help=argparse.SUPPRESS)

    def add_flag(self, name: str, *hidden: str, short: str | None = None, key: str = "", **kwargs: Any) -> None:
        """Add a flag, ``hidden`` spellings that the help does not show, and the config ``key`` that it sets."""
        self.add_argument(*([short] if short else []), name, **kwargs)
        self._flags.update(dict.fromkeys((name, *hidden), name))
        if key:
            self._key_flags[name[2:].replace("-", "_")] = key

    def add_output(self, help: str, **kwargs: Any) -> None:
        """Add -o, a folder or a file."""
        convert = str if "key" in kwargs else user_path  # a config expands the path itself
        options = {"metavar": "FOLDER", "type": convert, "help": help, **kwargs}
        self.add_flag("--output", "--output-dir", short="-o", **options)

    def add_json(self, help: str) -> None:
        """Add --json FILE; the screen without FILE. See ``write_result``."""
        self.add_flag("--json", nargs="?", const="-", metavar="FILE", help=f"{help} to FILE or, without it, the screen")

    def add_device(self) -> None:
        """Add --device."""
        self.add_flag("--device", key="MODEL.DEVICE", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps")

    def add_model(self) -> None:
        """Add the flags that name a detector, which the first word also does; see ``take_model``."""
        self.add_flag("--ckpt", "--weights", "--model", metavar="FILE", help=argparse.SUPPRESS)
        self.add_config()

    def add_config(self) -> None:
        """Add the flag that names a config, which the first word also does."""
        self.add_flag("--config-file", *SPELLINGS_OF_CONFIG, metavar="FILE", help=argparse.SUPPRESS)
        self.add_flag("--local-rank", type=int, help=argparse.SUPPRESS)  # the launcher sets LOCAL_RANK

    def parse(self, args: Sequence[str] | None) -> argparse.Namespace:
        """Return the flags, the ``words``, and the overrides of config keys in ``opts``, where flags go before."""
        given = list(sys.argv[1:] if args is None else args)
        parsed = self.parse_intermixed_args([self._spell(given, index) for index in range(len(given))])
        if self._has_keys:
            parsed.words, overrides = split_overrides(parsed.words)
            flags = {key: getattr(parsed, name) for name, key in self._key_flags.items()}
            values = [str(item) for pair in flags.items() if pair[1] is not None for item in pair]
            parsed.opts = [*values, *overrides]
        return parsed

    def take_word(self, parsed: argparse.Namespace, name: str) -> str:
        """Return the only word; a missing one, of this ``name``, and further ones are errors."""
        if not parsed.words:
            self.missing(name)
        word = "".join(parsed.words[:1])
        del parsed.words[:1]
        self.refuse_words(parsed)
        return word

    def missing(self, name: str) -> None:
        """End with an error for a word that is missing."""
        self.error(f"{name} is missing; for example: {self.example}")

    def refuse_words(self, parsed: argparse.Namespace) -> None:
        """End with an error if words are left."""
        if parsed.words:
            is_key = self._has_keys and "." in parsed.words[0] and parsed.words[0].split(".")[0].isupper()
            if not is_key:
                self.error(f"{parsed.words[0]!r} is not expected here")
            parsed.opts += parsed.words  # the config names the nearest key
            parsed.words = []

    def error(self, message: str) -> NoReturn:
        """Print the message in one line, and end the process."""
        self.exit(2, f"error: {message} (`{self.prog} --help` shows all options)\n")

    def _spell(self, words: Sequence[str], index: int) -> str:
        """Return a word with the canonical spelling of a flag."""
        name, equals, value = words[index].partition("=")
        if not name.startswith("--") or name == "--":
            return words[index]
        flag = name.replace("_", "-")
        if flag in self._flags:
            return f"{self._flags[flag]}{equals}{value}"
        following = words[index + 1] if index + 1 < len(words) else "-"
        if not equals and not following.startswith("-"):
            value = following
        notes = [self._remedy(name, flag, value)]
        notes += [describe_folder(word) for word in words if "train" in self.prog and is_image_folder(word)][:1]
        self.error("; ".join(notes))

    def _remedy(self, name: str, flag: str, value: str) -> str:
        near = difflib.get_close_matches(flag, self._flags, 1, 0.7)
        if self._has_keys and flag in _NOTES:
            return f"{name} {value}".strip() + f": {_NOTES[flag]}"
        if self._has_keys and flag in _KEYS and not near:
            return f"{name} is a config key here: {_KEYS[flag]} {value or 'VALUE'}"
        return f"there is no {name}" + (f"; did you mean {self._flags[near[0]]}?" if near else "")


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words that are no overrides, and the overrides KEY VALUE and KEY=VALUE as ``[KEY, VALUE, ...]``."""
    others: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if _is_key(key) and not os.path.exists(word):
            overrides += [key, value] if equals else [key, *itertools.islice(rest, 1)]
        else:
            others.append(word)
    return others, overrides


def _is_key(text: str) -> bool:
    """Whether a text names a key by its group, such as SOLVER.LR or, misspelled, SOLVER.LRR."""
    from ssd.config import cfg  # not at the top: `ssd doctor` also works where packages are missing

    group, dot, _ = text.partition(".")
    return group in cfg and bool(dot or text == "OUTPUT_DIR")


def take_model(parser: Parser, parsed: argparse.Namespace, *, has_more: bool = False) -> argparse.Namespace:
    """Take a config or a detector, or both, from the first words unless flags have named them.

    The folder of a run is its model_best.pth or model_final.pth, or else its last checkpoint; it is also OUTPUT_DIR.
    Other words are an error unless the command ``has_more``.
    """
    from ssd.config.files import is_config  # not at the top: `ssd doctor` also works where packages are missing

    while parsed.words:
        word = parsed.words[0]
        if parsed.config_file is None and is_config(word):
            parsed.config_file = word
        elif word.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".mp4")) and parsed.config_file is None:
            break
        elif parsed.ckpt is None and (parsed.config_file is None or word.lower().endswith(_MODEL_SUFFIXES)):
            parsed.ckpt = word
        else:
            break
        del parsed.words[0]
    if parsed.ckpt is not None and os.path.isdir(folder := os.path.expanduser(parsed.ckpt)):
        if is_image_folder(folder):
            raise ConfigError(describe_folder(folder))
        if "OUTPUT_DIR" not in parsed.opts[::2]:
            parsed.opts = ["OUTPUT_DIR", folder, *parsed.opts]
        if parsed.config_file is None and not _run_checkpoint(folder) and (config := _run_config(folder)):
            parsed.config_file, parsed.ckpt = config, None
    if parsed.ckpt is None and parsed.config_file is None:
        parser.missing("MODEL")
    if not has_more:
        parser.refuse_words(parsed)
    return parsed


def take_config(parser: Parser, parsed: argparse.Namespace) -> argparse.Namespace:
    """Take the config from the first word unless a flag has named it; the folder of a run is its config.yaml."""
    if parsed.config_file is None and parsed.words:
        parsed.config_file = parsed.words.pop(0)
    if parsed.config_file is not None and os.path.isdir(folder := os.path.expanduser(parsed.config_file)):
        config = _run_config(folder)
        if config is None:
            raise ConfigError(describe_folder(folder))
        parsed.config_file = config
        parsed.opts = ["OUTPUT_DIR", folder, *parsed.opts]
    if parsed.config_file is None:
        parser.missing("CONFIG")
    parser.refuse_words(parsed)
    return parsed


def is_image_folder(path: str) -> bool:
    """Whether a path is a folder without a file of a run or of a detector."""
    endings = (*_MODEL_SUFFIXES, ".index", "config.yaml", "last_checkpoint.txt")
    return os.path.isdir(path) and not any(name.endswith(endings) for name in os.listdir(path))


def describe_folder(folder: str) -> str:
    """Return a sentence for a folder of images where a config or a detector is expected."""
    return f"{folder} is a folder of images: `ssd fit {folder}` trains on it"


def _run_checkpoint(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in ("model_best.pth", "model_final.pth"))


def _run_config(folder: str) -> str | None:
    """Return the config in the folder of a run."""
    paths = [os.path.join(folder, name) for name in ("config.yaml", "fit.yaml")]
    return next(filter(os.path.isfile, paths), None)


def _fill(text: str, first: str = "", following: str = "") -> str:
    width = shutil.get_terminal_size().columns - 2
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=following)


def _row(name: str, text: str) -> str:
    """Return name and help of a word as argparse prints those of a flag."""
    return _fill(text, f"  {name}".ljust(_INDENT), " " * _INDENT)


def write_result(place: str, content: Any) -> None:
    """Write JSON to a file, or to the screen for "-"."""
    if place == "-":
        say(json.dumps(content, indent=2) + "\n")
        return
    try:
        write_json(user_path(place), content, indent=2)
    except OSError as error:
        sys.exit(f"error: {place}: {error.strerror}")


def user_path(text: str) -> Path:
    """Return the path of an argument, with ``~`` as the home folder; a shell leaves it in ``--output=~/folder``."""
    return Path(os.path.expanduser(text))


def parse_bool(text: str) -> bool:
    """Return the truth value of an option."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return values[text.lower()]


def parse_tile(text: str) -> int:
    """Return the side of a tile in pixels."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or another option behind --tile; got {text!r}")
    return int(text)
