import pytest
import yaml

from ssd.config import Config, cfg, load_config
from ssd.engine.resume import config_changes, read_stored_config
from ssd.utils.errors import CheckpointError


def changes(before: Config, now: Config) -> list[str]:
    stored = read_stored_config({"config": before.dump()}, "a.pth")
    assert stored is not None
    return config_changes(stored, now)


def test_the_same_config_has_no_changes() -> None:
    for config in (cfg, load_config(None, ["INPUT.IMAGE_SIZE", (96, 128), "MODEL.BACKBONE.PRETRAINED", "x.pth"])):
        assert changes(config, config) == []


def test_each_key_is_named_with_both_values() -> None:
    before = load_config(None, ["SOLVER.LR", 1e-3, "SOLVER.LR_STEPS", [8], "DATASETS.TRAIN", ("a",)])
    now = load_config(None, ["SOLVER.LR", 1e-2, "SOLVER.LR_STEPS", [8, 9], "INPUT.IMAGE_SIZE", (300, 400)])
    assert changes(before, now) == [
        "DATASETS.TRAIN: ['a'] -> []",
        "INPUT.IMAGE_SIZE: 300 -> [300, 400]",
        "SOLVER.LR: 0.001 -> 0.01",
        "SOLVER.LR_STEPS: [8] -> [8, 9]",
    ]


def test_groups_that_one_of_them_lacks() -> None:
    before, now = (load_config(None).clone() for _ in range(2))
    before.DATASETS.CUSTOM["old"] = Config({"FORMAT": "voc", "ROOT": "a", "SPLIT": "b"})
    now.DATASETS.CUSTOM["new"] = Config({"FORMAT": "coco"})
    assert changes(before, now) == [
        "DATASETS.CUSTOM.new: (none) -> {'FORMAT': 'coco'}",
        "DATASETS.CUSTOM.old: {'FORMAT': 'voc', 'ROOT': 'a', 'SPLIT': 'b'} -> (none)",
    ]


def test_a_key_of_a_later_version_had_its_default() -> None:
    assert config_changes({"SOLVER": {"LR": 0.1}}, load_config(None, ["SOLVER.LR", 0.2])) == ["SOLVER.LR: 0.1 -> 0.2"]


def test_a_key_of_an_earlier_version_is_gone() -> None:
    assert config_changes({"SOLVER": {"NESTEROV": True}}, load_config(None)) == ["SOLVER.NESTEROV: True -> (none)"]


def test_checkpoints_without_a_config() -> None:
    assert read_stored_config({"model": {}}, "a.pth") is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (3, "no mapping"),
        ("[1, 2]", "no mapping"),
        ("", "no mapping"),
        ("a: [", "no YAML"),
        ("a: !!python/object/apply:os.getcwd []", "no YAML"),
        ("[" * 5000, "no YAML"),
        ("a: 2026-13-45", "no YAML"),
    ],
)
def test_what_is_no_config(config: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^a\.pth: its config is {message}"):
        read_stored_config({"config": config}, "a.pth")


def test_aliases_do_not_explode() -> None:
    """Nine levels of nine aliases each would be 400 million leaves."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(9):
        lines.append(f"a{level + 1}: &a{level + 1} {{{', '.join(f'k{i}: *a{level}' for i in range(9))}}}")
    stored = read_stored_config({"config": "\n".join([*lines, "SOLVER: *a9"])}, "a.pth")
    assert stored is not None
    found = config_changes(stored, load_config(None))
    assert any(line.startswith("a9: {") for line in found)
    assert sum(map(len, found)) < 5000


def test_plain_trees_are_compared() -> None:
    assert config_changes(yaml.safe_load("SOLVER: 3"), load_config(None))[0].startswith("SOLVER: 3 -> {")
