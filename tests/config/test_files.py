"""Config files: those of the library by name, from a checkout and an installation; ``_BASE_``; hostile YAML."""

import time
from pathlib import Path

import pytest

from ssd.config import files, load_config
from ssd.config.files import base_text, find_config, shipped_names, similar_configs
from ssd.utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, an empty one."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(params=["checkout", "installation"])
def _installed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configs are beside the package or inside of it."""
    if request.param == "installation":
        package = tmp_path / "site-packages" / "ssd"
        package.mkdir(parents=True)
        (package / "configs").symlink_to(CONFIGS)
        monkeypatch.setattr(files, "FOLDERS", [package / "configs", package.parent / "configs"])


@pytest.mark.usefixtures("_installed")
class TestNames:
    @pytest.mark.parametrize("name", ["quickstart.yaml", "./configs/quickstart.yaml", "modern/own_data.yaml"])
    def test_by_name(self, name: str) -> None:
        assert load_config(name) == load_config(CONFIGS / name.removeprefix("./configs/"))

    def test_a_file_of_the_user_wins(self, folder: Path) -> None:
        (folder / "quickstart.yaml").write_text("SOLVER: {MAX_ITER: 7}\n")
        assert load_config("quickstart.yaml").SOLVER.MAX_ITER == 7
        assert load_config("configs/quickstart.yaml").SOLVER.MAX_ITER == 2000

    @pytest.mark.parametrize("base", ["vgg_ssd512_voc0712.yaml", "configs/vgg_ssd512_voc0712.yaml"])
    def test_as_a_base(self, folder: Path, base: str) -> None:
        (folder / "sub").mkdir()
        (folder / "sub" / "mine.yaml").write_text(f"_BASE_: {base}\nSOLVER: {{SEED: 5}}\n")
        config = load_config("sub/mine.yaml")
        assert (config.INPUT.IMAGE_SIZE, config.SOLVER.SEED) == (512, 5)
        (folder / "sub" / base).parent.mkdir(exist_ok=True)
        (folder / "sub" / base).write_text("INPUT: {IMAGE_SIZE: 64}\n")
        assert load_config("sub/mine.yaml").INPUT.IMAGE_SIZE == 64

    @pytest.mark.parametrize("name", ["../configs/quickstart.yaml", "examples/../quickstart.yaml", "/quickstart.yaml"])
    def test_only_by_the_name_itself(self, name: str) -> None:
        assert find_config(name) == Path(name)

    def test_every_config_has_a_name(self) -> None:
        assert shipped_names() == sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
        assert all(find_config(name).is_file() for name in shipped_names())

    def test_the_text_of_a_base(self, folder: Path) -> None:
        for base in ("configs/modern/own_data.yaml", CONFIGS / "modern" / "own_data.yaml"):
            assert base_text(base, folder / "new" / "mine.yaml") == "modern/own_data.yaml"
        (folder / "parent.yaml").touch()
        assert base_text("parent.yaml", folder / "new" / "mine.yaml") == "../parent.yaml"
        (folder / "quickstart.yaml").touch()  # the user's own of this name
        text = base_text(CONFIGS / "quickstart.yaml", folder / "mine.yaml")
        (folder / "mine.yaml").write_text(f"_BASE_: {text}\n")
        assert load_config("mine.yaml") == load_config(CONFIGS / "quickstart.yaml")


def test_the_nearest_names(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'vgg_ssd300_voc.yaml'.* did you mean vgg_ssd300_voc0712\.yaml"):
        load_config("vgg_ssd300_voc.yaml")
    with pytest.raises(ConfigError, match=r"'quickstat'.* did you mean quickstart\.yaml\?"):
        load_config("quickstat")
    assert load_config("configs/quickstart") == load_config("quickstart.yaml")
    assert similar_configs("configs/own_dat.yaml") == "; did you mean modern/own_data.yaml?"
    assert similar_configs("nothing_of_the_kind.yaml") == ""
    (folder / "parent.yaml").touch()
    (folder / "mine.yaml").write_text("_BASE_: parents.yaml\n")
    with pytest.raises(ConfigError, match=r"parents\.yaml.* did you mean parent\.yaml"):
        load_config("mine.yaml")


def test_several_bases(folder: Path) -> None:
    """They merge in their order, each after its own bases."""
    (folder / "root.yaml").write_text("SOLVER: {LR: 0.5, GAMMA: 0.5, MAX_ITER: 5}\n")
    (folder / "one.yaml").write_text("_BASE_: root.yaml\nSOLVER: {GAMMA: 0.25, MAX_ITER: 6}\n")
    (folder / "two.yaml").write_text("SOLVER: {MAX_ITER: 7, SEED: 7}\n")
    (folder / "mine.yaml").write_text("_BASE_: [one.yaml, two.yaml]\nSOLVER: {SEED: 8}\n")
    solver = load_config("mine.yaml").SOLVER
    assert (solver.LR, solver.GAMMA, solver.MAX_ITER, solver.SEED) == (0.5, 0.25, 7, 8)


def test_inheritance_that_is_circular(folder: Path) -> None:
    (folder / "a.yaml").write_text("_BASE_: b.yaml\n")
    (folder / "b.yaml").write_text("_BASE_: a.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml -> b\.yaml -> a\.yaml"):
        load_config("a.yaml")
    (folder / "twice.yaml").write_text("_BASE_: [c.yaml, d.yaml]\n")
    (folder / "c.yaml").write_text("_BASE_: d.yaml\n")
    (folder / "d.yaml").touch()
    with pytest.raises(ConfigError, match=r"leads to .*d\.yaml twice"):
        load_config("twice.yaml")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(ConfigError, match=r"loop\.yaml"):
        load_config("loop.yaml")


def test_python_is_not_executed(folder: Path) -> None:
    (folder / "trap.py").write_text("open('executed', 'w')\ncfg = {}\n")
    (folder / "a.yaml").write_text("_BASE_: trap.py\n")
    for name in ("trap.py", "a.yaml"):
        with pytest.raises(ConfigError, match=r"trap\.py"):
            load_config(name)
    assert not (folder / "executed").exists()


TEN = [", ".join([f"*a{i}"] * 10) for i in range(9)]  # 10 ** 9 values, were the aliases written out
LAUGHS = "\n".join(["a0: &a0 [ha]", *(f"a{i}: &a{i} [{ten}]" for i, ten in enumerate(TEN, 1))])
MERGED = "\n".join(["a0: &a0 {k: 1}", *(f"a{i}: &a{i} {{<<: [{ten}]}}" for i, ten in enumerate(TEN, 1))])


@pytest.mark.parametrize(
    "text",
    [
        *("OUTPUT_DIR: !!python/object/apply:os.mkdir [trap]", "OUTPUT_DIR: !!python/object/new:os.mkdir [trap]"),
        *("OUTPUT_DIR: !!python/name:os.mkdir", "OUTPUT_DIR: !!python/tuple [1]", "SOLVER: {LR: !!binary aGk=}"),
        *(LAUGHS, MERGED, "DATASETS: &d {CUSTOM: *d}", "[" * 1500, "a: {" * 1500),
        *("SOLVER: {MAX_ITER: " + "9" * 5000 + "}", "SOLVER: {MAX_ITER: !!bool maybe}", "OUTPUT_DIR: a\0b"),
        *("DATASETS: {CUSTOM: {1: {FORMAT: voc}}}", "DATASETS: {CUSTOM: {? [a] : 1}}"),
        *("SOLVER: {LR: 0.1}\nSOLVER: {GAMMA: 0.1}", "[1, 2]", "SOLVER: {LR: [", b"OUTPUT_DIR: \xff\n"),
        *("_BASE_: " + "x" * 5000 + ".yaml", '_BASE_: "a\\0b.yaml"', "_BASE_: ~nobody_of_this_name/a.yaml"),
        *("_BASE_: [a.yaml]", "_BASE_: nowhere.yaml"),
    ],
    ids=lambda text: str(text[:20]),
)
def test_hostile_yaml_is_an_error_that_names_the_file(folder: Path, text: str | bytes) -> None:
    start = time.process_time()
    (folder / "a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load_config("a.yaml")
    assert not (folder / "trap").exists()
    assert time.process_time() - start < 15  # a second where this was written
