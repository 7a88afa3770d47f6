"""Command lines: positional words by their content, flags in both spellings, mistakes answered in one line."""

import argparse
import difflib
import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ssd.utils.errors import ConfigError
from ssd.utils.logger import say

CONFIG_HELP = "YAML file, or the name of one of the library's configs, such as quickstart or vgg_ssd300_voc0712"
CONFIG = ("CONFIG", f"{CONFIG_HELP}; or the folder of a run")
MODEL = ("MODEL", "folder of a run, file, URL or name of `ssd models`; or a config: the last checkpoint of OUTPUT_DIR")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".mp4")
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
    "--config-file": "name the config without a flag",
    "--resume": "leave it out: the same command continues a run that was interrupted",
}


class Parser(argparse.ArgumentParser):
    """Reads positional words, flags and overrides of config keys, in any order.

    ``words`` are METAVAR and help of the positional words. A mistake ends the process with status 2 and one line, which
    has the remedy.
    """

    def __init__(self, prog: str, description: str, example: str, *words: tuple[str, str], keys: bool = True):
        keys_row = ("[KEY VALUE ...]", "config keys, such as SOLVER.LR 1e-3 or SOLVER.LR=1e-3")
        rows = [*words, keys_row] if keys else words
        usage = " ".join(["%(prog)s", *(name for name, _ in words), "[options]", *([keys_row[0]] if keys else [])])
        texts = [_wrap(description), "", *(_wrap(text, name.strip("[]")) for name, text in rows)]
        shape = argparse.RawDescriptionHelpFormatter
        epilog = f"example:\n  {example}"
        super().__init__(prog, usage, "\n".join(texts), epilog, formatter_class=shape, allow_abbrev=False)
        self.example, self._has_keys = example, keys
        self._flags = {"--help": "--help"}  # canonical spelling by spelling
        self._key_flags: dict[str, str] = {}
        self.add_argument("words", nargs="*", help=argparse.SUPPRESS)

    def add_flag(self, name: str, metavar: str, help: str, *hidden: str, key: str = "", **kwargs: Any) -> None:
        """Add a flag.

        Args:
            metavar: Its type too: "" = a switch, N = int, X = float, FILE and FOLDER = Path.
            help: Description; "" hides the flag.
            hidden: Further spellings, or one such as -o.
            key: Config key that the flag sets.
        """
        options = {"action": "store_true"} if metavar == "" else {"metavar": metavar, "type": _TYPES.get(metavar, str)}
        if "choices" in kwargs:
            options = {}
        default = kwargs.get("default")
        text = help if not help or isinstance(default, bool | None) or "(" in help else f"{help} (%(default)s)"
        short = [word for word in hidden if not word.startswith("--")]
        self.add_argument(*short, name, **{"help": text or argparse.SUPPRESS, **options, **kwargs})
        self._flags.update(dict.fromkeys((name, *hidden), name))
        if key:
            self._key_flags[name[2:].replace("-", "_")] = key

    def add_output(self, help: str, metavar: str = "FOLDER", **kwargs: Any) -> None:
        """Add -o, a folder or a file."""
        self.add_flag("--output", metavar, help, "-o", "--output-dir", **{"type": user_path, **kwargs})

    def add_device(self, *, with_seed: bool = False) -> None:
        """Add --device, and --seed."""
        self.add_flag("--device", "NAME", "auto, cpu, cuda, cuda:1 or mps", key="MODEL.DEVICE")
        if with_seed:
            self.add_flag("--seed", "N", "seed of all random numbers", key="SOLVER.SEED")

    def add_json(self) -> None:
        """Add --json, see ``write_result``."""
        help_text = "write the result as JSON, without FILE to the screen"
        self.add_flag("--json", "FILE", help_text, nargs="?", const="-", type=str)

    def add_config(self, help: str = "") -> None:
        """Add the flag that names a config, which the first word also does where ``help`` is empty."""
        self.add_flag("--config-file", "CONFIG", help, "--config", "--cfg", "--data")
        self.add_flag("--local-rank", "N", "")  # the launcher sets LOCAL_RANK

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

    def parse_word(self, args: Sequence[str] | None, name: str, title: str = "") -> argparse.Namespace:
        """Return the arguments of a command with one word, which becomes ``name``."""
        parsed = self.parse(args)
        if not parsed.words:
            self.missing(title or name.upper())
        setattr(parsed, name, os.path.expanduser("".join(parsed.words[:1])))
        del parsed.words[:1]
        self.refuse_words(parsed)
        return parsed

    def parse_config(self, args: Sequence[str] | None) -> argparse.Namespace:
        """Return the arguments of a command whose word is a config, or the folder of a run with its config.yaml."""
        self.add_config()
        parsed = self.parse(args)
        if parsed.config_file is None and parsed.words:
            parsed.config_file = parsed.words.pop(0)
        if parsed.config_file is None:
            self.missing("CONFIG")
        elif os.path.isdir(folder := os.path.expanduser(parsed.config_file)):
            parsed.config_file = os.path.join(folder, "config.yaml")
            if not os.path.isfile(parsed.config_file):
                raise ConfigError(describe_folder(folder))
            parsed.opts = ["OUTPUT_DIR", folder, *parsed.opts]
        self.refuse_words(parsed)
        return parsed

    def parse_model(self, args: Sequence[str] | None, *, has_more: bool = False) -> argparse.Namespace:
        """Return the arguments of a command whose first words are a config or a detector, or both.

        The folder of a run is its best, final or last checkpoint, and OUTPUT_DIR. Other words are an error unless the
        command ``has_more``.
        """
        from ssd.config.files import is_config  # not at the top: `ssd doctor` also works where packages are missing

        self.add_config()
        self.add_flag("--ckpt", "MODEL", "", "--weights", "--model")
        parsed = self.parse(args)
        parsed.has_model_word = parsed.ckpt is None and parsed.config_file is None
        while parsed.words and not parsed.words[0].lower().endswith(_IMAGE_SUFFIXES):
            word = parsed.words[0]
            if parsed.config_file is None and is_config(word):
                parsed.config_file = word
            elif parsed.ckpt is None and (parsed.config_file is None or word.lower().endswith(_MODEL_SUFFIXES)):
                parsed.ckpt = word
            else:
                break
            del parsed.words[0]
        if parsed.ckpt is None and parsed.config_file is None:
            self.missing("MODEL")
        elif parsed.ckpt is not None and os.path.isdir(folder := os.path.expanduser(parsed.ckpt)):
            if is_image_folder(folder):
                raise ConfigError(describe_folder(folder))
            parsed.opts = ["OUTPUT_DIR", folder, *parsed.opts]
            has_weights = {"model_best.pth", "model_final.pth"} & set(os.listdir(folder))
            if parsed.config_file is None and not has_weights:
                parsed.config_file, parsed.ckpt = os.path.join(folder, "config.yaml"), None
        if not has_more:
            self.refuse_words(parsed)
        return parsed

    def missing(self, name: str) -> None:
        """End with an error for a word that is missing."""
        self.error(f"{name} is missing; for example: {self.example}")

    def refuse_words(self, parsed: argparse.Namespace) -> None:
        """End with an error if words are left."""
        if parsed.words:
            self.error(f"{parsed.words[0]!r} is not expected here")

    def error(self, message: str) -> NoReturn:
        """Print the message in one line, and end the process."""
        self.exit(2, f"error: {message} (`{self.prog} --help` shows all options)\n")

    def _spell(self, words: Sequence[str], index: int) -> str:
        """Return a word with the canonical spelling of a flag."""
        name, equals, value = words[index].partition("=")
        flag = name.replace("_", "-")
        if not name.startswith("--") or name == "--":
            return words[index]
        if flag in self._flags:
            return f"{self._flags[flag]}{equals}{value}"
        following = words[index + 1 : index + 2]
        if not equals and following and not following[0].startswith("-"):
            value = following[0]
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
    from ssd.config import cfg

    others: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        group, dot, _ = key.partition(".")
        is_group = group in cfg or (group.isupper() and difflib.get_close_matches(group, cfg, 1, 0.8))
        if is_group and (dot or key == "OUTPUT_DIR") and not os.path.exists(word):
            overrides += [key, value] if equals else [key, *itertools.islice(rest, 1)]
        else:
            others.append(word)
    return others, overrides


def is_image_folder(path: str) -> bool:
    """Whether a path is a folder without a file of a run or of a detector."""
    endings = (*_MODEL_SUFFIXES, ".index", "config.yaml", "last_checkpoint.txt")
    return os.path.isdir(path) and not any(name.endswith(endings) for name in os.listdir(path))


def describe_folder(folder: str) -> str:
    """Return a sentence for a folder of images where a config or a detector is expected."""
    return f"{folder} is a folder of images: `ssd fit {folder}` trains on it"


def _wrap(text: str, name: str = "") -> str:
    """Return a text in lines; behind ``name`` as argparse prints help."""
    first, following = (f"  {name}".ljust(24), " " * 24) if name else ("", "")
    width = shutil.get_terminal_size().columns - 2
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=following)


def write_result(place: str, content: Any) -> None:
    """Write JSON to a file, or to the screen for "-"."""
    text = json.dumps(content, indent=2) + "\n"
    try:
        say(text) if place == "-" else user_path(place).write_text(text, encoding="utf-8")
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


_TYPES: dict[str, Callable[[str], Any]] = {"N": int, "X": float, "FILE": user_path, "FOLDER": user_path}
