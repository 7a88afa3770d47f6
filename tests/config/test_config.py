"""Config: yacs semantics, inheritance, and errors that help."""

import ast
from pathlib import Path
from typing import Any

import pytest

from ssd.config import cfg, load_config
from ssd.config.checks import CHECKS
from ssd.config.node import dotted_keys
from ssd.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_defaults_are_those_of_lufficc() -> None:
    assert cfg.MODEL.PRIORS.MIN_SIZES == [30, 60, 111, 162, 213, 264]
    assert pytest.approx(1 / 3) == cfg.SOLVER.WARMUP_FACTOR
    assert cfg.TEST.CONFIDENCE_THRESHOLD == 0.01
    assert cfg.INPUT.PIXEL_MEAN == [123, 117, 104]
    assert cfg.OUTPUT_DIR == "outputs"


def test_loading_does_not_change_the_defaults_and_freezes() -> None:
    config = load_config(None, ["SOLVER.LR", "2e-3"])
    assert config.SOLVER.LR == 2e-3
    assert cfg.SOLVER.LR == 1e-3
    with pytest.raises(AttributeError):
        config.SOLVER.LR = 1.0
    with pytest.raises(ConfigError, match="frozen"):
        config.merge_from_list(["SOLVER.LR", 1.0])
    changed = cfg.clone()
    solver = changed.SOLVER
    changed.merge_from_list(["SOLVER.MAX_ITER", "3"])
    assert solver.MAX_ITER == 3  # groups keep their identity


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(("DATASETS.TRAIN", text, ("a", "b")) for text in ("['a', 'b']", "[a, b]", "a,b", "(a, b, )")),
        ("SOLVER.LR", 1, 1.0),
        ("SOLVER.LR_STEPS", (1, 2), [1, 2]),
        ("INPUT.IMAGE_SIZE", 512, 512),
        ("INPUT.IMAGE_SIZE", [300, 500], (300, 500)),
        ("TEST.AMP", False, "off"),  # as YAML reads the bare word
    ],
)
def test_types_that_convert(key: str, value: object, expected: object) -> None:
    group, name = key.split(".")
    assert load_config(None, [key, value])[group][name] == expected


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("SOLVER: {BASE_LR: 0.1}", r"a\.yaml: .*SOLVER\.BASE_LR; did you mean SOLVER\.LR\?"),
        ("LR: 0.1", r"LR; did you mean SOLVER\.LR\?"),
        ("SOLVR: {LR: 0.1}", r"SOLVR; did you mean SOLVER\?"),
        ("MODEL: {PRIORS: {MIN_SIZE: [1]}}", r"did you mean MODEL\.PRIORS\.MIN_SIZES\?"),
        ("QQQ: 1", r"QQQ.*: CHECKPOINT, DATASETS, DATA_LOADER"),
        ("SOLVER: {MAX_ITER: many}", r"SOLVER\.MAX_ITER .*int.*'many'"),
        ("SOLVER: 3", r"SOLVER .*MAX_ITER.* 3"),
        ("DATASETS: {TRAIN: 3}", r"tuple like \(\) \(a list of names.*, got 3"),
        ("SOLVER: {LR: -0.1}", r"SOLVER\.LR .*-0\.1"),
        ("SOLVER: {LR: .nan}", r"SOLVER\.LR "),
        ("SOLVER: {WEIGHT_DECAY: .inf}", r"SOLVER\.WEIGHT_DECAY "),
        ("INPUT: {IMAGE_SIZE: [300]}", r"INPUT\.IMAGE_SIZE .*\[height, width\]"),
        ("MODEL: {PRIORS: {MIN_SIZES: [a, 2]}}", r"MIN_SIZES .*\['a', 2\]"),
        ("MODEL: {PRIORS: {SHAPES: [[30, 30]]}}", r"SHAPES .*\[\[\[30, 30\]"),
        ("MODEL: {PRIORS: {SHAPES: [[[30, 0]]]}}", r"SHAPES .*\[\[\[30, 30\]"),
        ("MODEL: {PRIORS: {SHAPES: [[]]}}", r"SHAPES .*\[\[\[30, 30\]"),
        ("MODEL: {PRIORS: {OFFSETS: [0.5, 2]}}", r"OFFSETS .*0 to 1"),
        ("MODEL: {PRIORS: {ASPECT_RATIOS: [2, 3]}}", r"ASPECT_RATIOS .*\[\[2\], \[2, 3\]\]"),
        ("MODEL: {PRIORS: {CENTERS: edge}}", r"CENTERS .*stride or map.*'edge'"),
        ("MODEL: {NUM_CLASSES: 1}", r"NUM_CLASSES .* 1"),
        ("MODEL: {WEIGHTS_EXCLUDE: ['(']}", r"WEIGHTS_EXCLUDE "),
        ("SOLVER: {SEED: -1}", r"SOLVER\.SEED .*-1"),
        ("INPUT: {PIXEL_MEAN: [1, 2]}", r"PIXEL_MEAN .*three.*\[1, 2\]"),
        ("INPUT: {PIXEL_STD: [1, 0, 1]}", r"PIXEL_STD .*three"),
        ("TEST: {MAX_PER_IMAGE: 0}", r"MAX_PER_IMAGE .*-1.* 0"),
        ("OUTPUT_DIR: off", r"OUTPUT_DIR .*str"),
        ("MODEL: {WEIGHTS_CLASSES: [no, yes]}", r"WEIGHTS_CLASSES .*quotes.*False"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, fact: str) -> None:
    with pytest.raises(ConfigError, match=fact):
        load_config(write(tmp_path / "a.yaml", text))


def test_dump_loads_back(tmp_path: Path) -> None:
    config = load_config(ROOT / "configs" / "vgg_ssd512_coco_trainval35k.yaml", ["INPUT.IMAGE_SIZE", (512, 640)])
    assert load_config(write(tmp_path / "dump.yaml", config.dump())) == config


def test_checked_keys_exist_and_their_defaults_pass() -> None:
    keys = dict.fromkeys(dotted_keys(cfg))
    for key, (is_valid, _) in CHECKS.items():
        assert key in keys
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        assert is_valid(value), key


def test_every_key_is_read() -> None:
    """Outside the config package, as GROUP.KEY or as group.KEY."""
    reads: set[tuple[str, str]] = set()
    for path in [*(ROOT / "ssd").rglob("*.py"), *ROOT.glob("*.py")]:
        if "config" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Attribute, ast.Name)):
                group = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                reads.add((group.upper(), node.attr))
    keys = [("CFG", *key.split(".")) for key in dotted_keys(cfg)]
    assert [".".join(key[1:]) for key in keys if key[-2:] not in reads] == []


@pytest.mark.parametrize("text", ["{[]: 1}", "{{}}", "b'x'", "1j", "{1, 2}", "..."])
def test_literals_that_no_config_holds_stay_text(text: str) -> None:
    assert load_config(None, ["DATASETS.CUSTOM.x", text]).DATASETS.CUSTOM.x == text


@pytest.mark.parametrize("text", ["(" * 500, "-" * 50_000 + "1", "[" * 5000, "1" * 5000])
def test_literals_too_deep_or_long_are_text(text: str) -> None:
    with pytest.raises(ConfigError, match=r"SOLVER\.LR"):
        load_config(None, ["SOLVER.LR", text])
    with pytest.raises(ConfigError, match=r"SOLVER\.LR"):  # not in pairs
        load_config(None, ["SOLVER.LR"])


def test_class_names_are_as_written(tmp_path: Path) -> None:
    names = ["007", "010", "16:9", "1e3", "1.10", "2020-01-31", "no"]
    written = "[007, 010, 16:9, 1e3, 1.10, 2020-01-31, 'no']"
    entry = f"{{ROOT: x, SPLIT: 010, CLASSES: {written}}}"
    text = f"MODEL: {{WEIGHTS_CLASSES: {written}}}\nDATASETS: {{CUSTOM: {{a: {entry}}}}}\n"
    first = load_config(write(tmp_path / "a.yaml", text))
    for config in (first, load_config(write(tmp_path / "b.yaml", first.dump()))):
        assert (list(config.MODEL.WEIGHTS_CLASSES), config.DATASETS.CUSTOM.a.CLASSES) == (names, names)
        assert config.DATASETS.CUSTOM.a.SPLIT == "010"


def test_custom_datasets_take_any_name(tmp_path: Path) -> None:
    entry = {"FORMAT": "voc", "ROOT": Path("datasets")}
    with pytest.raises(ConfigError, match=r"DATASETS\.CUSTOM\.mine"):  # a value that no file could hold
        load_config(None, ["DATASETS.CUSTOM.mine", entry])
    text = """
DATASETS:
  CUSTOM:
    one: &one {FORMAT: voc, ROOT: 2020-01-31, SPLIT: train, CLASSES: [a, b]}
    two: {<<: *one, SPLIT: test}
"""
    overrides = ["DATASETS.CUSTOM.one.ROOT", "elsewhere", "DATASETS.CUSTOM.x", "{'FORMAT': 'voc', 'ROOT': 'r'}"]
    custom = load_config(write(tmp_path / "a.yaml", text), overrides).DATASETS.CUSTOM
    assert (custom.one.ROOT, custom.one.CLASSES, custom.x.ROOT) == ("elsewhere", ["a", "b"], "r")
    assert dict(custom.two) == {"FORMAT": "voc", "ROOT": "2020-01-31", "SPLIT": "test", "CLASSES": ["a", "b"]}
