"""Config: yacs semantics, inheritance, and errors that help."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssd.config import Config, cfg, load_config
from ssd.config.node import CHECKS, _walk
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


def test_yaml_text_1e_3_is_a_float(tmp_path: Path) -> None:
    config = load_config(write(tmp_path / "a.yaml", "SOLVER:\n  LR: 1e-2\n"))
    assert config.SOLVER.LR == 0.01


def test_lists_and_tuples_convert_both_ways() -> None:
    config = load_config(None, ["DATASETS.TRAIN", "['a', 'b']", "SOLVER.LR_STEPS", (1, 2)])
    assert config.DATASETS.TRAIN == ("a", "b")
    assert config.SOLVER.LR_STEPS == [1, 2]


@pytest.mark.parametrize(("value", "expected"), [(512, 512), ((300, 500), (300, 500)), ([300, 500], (300, 500))])
def test_image_size_may_be_a_number_or_a_pair(value: object, expected: object) -> None:
    assert expected == load_config(None, ["INPUT.IMAGE_SIZE", value]).INPUT.IMAGE_SIZE


def test_inheritance_over_three_levels(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base" / "root.yaml", "SOLVER: {LR: 0.1, GAMMA: 0.5, MAX_ITER: 7}\n")
    write(tmp_path / "middle.yaml", "_BASE_: base/root.yaml\nSOLVER: {GAMMA: 0.25}\n")
    config = load_config(write(tmp_path / "leaf.yaml", "_BASE_: middle.yaml\nSOLVER: {MAX_ITER: 9}\n"))
    assert (config.SOLVER.LR, config.SOLVER.GAMMA, config.SOLVER.MAX_ITER) == (0.1, 0.25, 9)


def test_circular_inheritance_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "_BASE_: b.yaml\n")
    write(tmp_path / "b.yaml", "_BASE_: a.yaml\n")
    with pytest.raises(ConfigError, match=r"circular: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER: {BASE_LR: 0.1}", r"a\.yaml: unknown key SOLVER\.BASE_LR; did you mean SOLVER\.LR\?"),
        ("LR: 0.1", r"unknown key LR; did you mean SOLVER\.LR\?"),
        ("SOLVR: {LR: 0.1}", r"unknown key SOLVR; did you mean SOLVER\?"),
        ("MODEL: {PRIORS: {MIN_SIZE: [1]}}", r"did you mean MODEL\.PRIORS\.MIN_SIZES\?"),
        ("QQQ: 1", r"unknown key QQQ; keys there: CHECKPOINT, DATASETS, DATA_LOADER"),
        ("SOLVER: {LR: 1}", r"SOLVER\.LR must be float like 0\.001, got 1; write 1\.0"),
        ("SOLVER: {MAX_ITER: many}", r"SOLVER\.MAX_ITER must be int like 120000, got 'many'"),
        ("SOLVER: 3", r"SOLVER is a group of keys"),
        ("DATASETS: {TRAIN: voc_2007_trainval}", r"must be tuple like \(\), got 'voc_2007_trainval'; write \["),
        ("SOLVER: {LR: -0.1}", r"SOLVER\.LR must be positive, got -0\.1"),
        ("INPUT: {IMAGE_SIZE: [300]}", r"INPUT\.IMAGE_SIZE must be a positive int or a pair \(height, width\)"),
        ("MODEL: {PRIORS: {MIN_SIZES: [a, 2]}}", r"MIN_SIZES must be a list of positive numbers, got \['a', 2\]"),
        ("MODEL: {PRIORS: {ASPECT_RATIOS: [2, 3]}}", r"ASPECT_RATIOS must be one list a level"),
        ("MODEL: {NUM_CLASSES: 1}", r"NUM_CLASSES must be 2 or more \(background counts\), or 0, got 1"),
        ("SOLVER: {SEED: -1}", r"SOLVER\.SEED must be 0 or more, got -1"),
        ("SOLVER: {BATCH_SIZE: 0}", r"SOLVER\.BATCH_SIZE must be positive, got 0"),
        ("TEST: {BATCH_SIZE: 0}", r"TEST\.BATCH_SIZE must be positive, got 0"),
        ("INPUT: {PIXEL_MEAN: [1, 2]}", r"PIXEL_MEAN must be three numbers: red, green, blue, got \[1, 2\]"),
        ("INPUT: {PIXEL_STD: [1, 0, 1]}", r"PIXEL_STD must be three positive numbers"),
        ("TEST: {MAX_PER_IMAGE: 0}", r"MAX_PER_IMAGE must be positive, or -1 for no limit, got 0"),
        ("OUTPUT_DIR: ''", r"OUTPUT_DIR must be the name of a folder"),
        ("SOLVER: {LR: 0.1}\nSOLVER: {GAMMA: 0.1}", r"key 'SOLVER' stands there twice"),
        ("[1, 2]", r"a config is a mapping"),
        ("SOLVER: {LR: [", r"not valid YAML"),
        ("_BASE_: [a.yaml]", r"_BASE_ must be the path of one YAML file"),
        ("_BASE_: nowhere.yaml", r"_BASE_ names .*nowhere\.yaml, which does not exist"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path / "a.yaml", text))


def test_a_failed_merge_changes_nothing() -> None:
    config = cfg.clone()
    with pytest.raises(ConfigError):
        config._merge_checked({"SOLVER": {"LR": 0.5, "TYPO": 1}}, source="")
    assert config == cfg


def test_merging_keeps_the_identity_of_groups() -> None:
    config = cfg.clone()
    solver = config.SOLVER
    config.merge_from_list(["SOLVER.MAX_ITER", "3"])
    assert solver.MAX_ITER == 3


def test_overrides_come_in_pairs() -> None:
    with pytest.raises(ConfigError, match="pairs KEY VALUE"):
        load_config(None, ["SOLVER.LR"])


def test_missing_file_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"vgg_ssd300_voc07\.yaml' does not exist; did you mean .*voc0712\.yaml\?"):
        load_config("configs/vgg_ssd300_voc07.yaml")


def test_python_files_are_not_executed(tmp_path: Path) -> None:
    trap = write(tmp_path / "trap.py", f"open({str(tmp_path / 'executed')!r}, 'w')\ncfg = {{}}\n")
    with pytest.raises(ConfigError, match=r"a config is a \.yaml file"):
        load_config(trap)
    assert not (tmp_path / "executed").exists()


def test_custom_datasets_take_any_name(tmp_path: Path) -> None:
    text = "DATASETS: {CUSTOM: {cells: {FORMAT: voc, ROOT: data, CLASSES: [a, b]}}}"
    config = load_config(write(tmp_path / "a.yaml", text), ["DATASETS.CUSTOM.cells.ROOT", "elsewhere"])
    assert config.DATASETS.CUSTOM.cells.CLASSES == ["a", "b"]
    assert config.DATASETS.CUSTOM.cells.ROOT == "elsewhere"


def test_dump_loads_back(tmp_path: Path) -> None:
    config = load_config(ROOT / "configs" / "vgg_ssd512_coco_trainval35k.yaml", ["INPUT.IMAGE_SIZE", (512, 640)])
    assert load_config(write(tmp_path / "dump.yaml", config.dump())) == config


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_load(path: Path) -> None:
    assert f"outputs/{path.stem}" == load_config(path).OUTPUT_DIR


def test_cfg_prints_from_any_folder(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import ssd.config; print(ssd.config.cfg)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "WARMUP_FACTOR: 0.3333" in run.stdout


def test_no_key_is_dead() -> None:
    """Every key of the defaults is read somewhere outside the config package, as GROUP.KEY or as group.KEY."""
    reads: set[tuple[str, str]] = set()
    for path in [*(ROOT / "ssd").rglob("*.py"), *ROOT.glob("*.py")]:
        if "config" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Attribute, ast.Name)):
                group = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                reads.add((group.upper(), node.attr))
    keys = [("CFG", *key.split(".")) for key in _walk(cfg, ())]
    assert [".".join(key[1:]) for key in keys if key[-2:] not in reads] == []


def test_checked_keys_exist_and_their_defaults_pass() -> None:
    keys = dict.fromkeys(_walk(cfg, ()))
    for key, (is_valid, _) in CHECKS.items():
        assert key in keys
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        assert is_valid(value), key


def test_yacs_loading_of_python_files_is_closed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="merge_from_file"):
        Config.load_cfg("SOLVER: {}")


def test_off_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "off.yaml"
    path.write_text("SOLVER: {AMP: off}\nDATA_LOADER: {CACHE: off}\n")
    config = load_config(path, ["TEST.AMP", "off"])
    assert (config.SOLVER.AMP, config.DATA_LOADER.CACHE, config.TEST.AMP) == ("off", "off", "off")
    path.write_text("OUTPUT_DIR: off\n")
    with pytest.raises(ConfigError, match="OUTPUT_DIR must be str"):
        load_config(path)
