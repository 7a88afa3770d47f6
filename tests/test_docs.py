"""The documentation: its examples run, its links and commands lead to files."""

import copy
import importlib
import itertools
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed import run as torchrun
from torchvision.models import regnet_y_400mf

import ssd
from ssd import cli, config
from ssd.commands import data as data_command
from ssd.commands import data_scenes as scenes_command
from ssd.commands import doctor
from ssd.commands.arguments import Parser
from ssd.config import load_config
from ssd.config.files import shipped_names
from ssd.data import build_datasets, catalog
from ssd.evaluation import evaluate
from ssd.inference.outputs import Outputs
from ssd.inference.video_writer import VideoWriter
from ssd.modeling import registry
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures import Container
from ssd.tools.doctor import Finding
from ssd.utils.errors import ConfigError, DatasetError
from ssd.utils.image import read_image, write_image
from ssd.utils.model_zoo import zoo_models
from ssd.weights.formats import all_formats
from tests.conftest import SMALL_MODEL

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
every_page = pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)

# Indentation, language and content of a fenced block; a block in a list is indented.
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:ssd|python|torchrun|make|pip) [^`]+)`")
SCRIPTS = ("#!", "until ")  # first words of a block that is a script, not one command per line
FOREIGN = {"git", "cd", ".", "apt-get", "pre-commit"}  # programs that are not of this library

# Priors of SMALL_MODEL, which makes the detectors of the examples small: 4 per cell, at strides 8, 16, 32 and 64.
NUM_PRIORS = 4 * (12 * 16 + 6 * 8 + 3 * 4 + 2 * 2)


def read_blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block."""
    return [(language, textwrap.dedent(content)) for _, language, content in re.findall(BLOCK, text)]


def current_text(page: Path) -> str:
    """Return the text of a page; of the changelog without released versions and removed names."""
    text = page.read_text()
    if page.name == "CHANGELOG.md":
        text = text.partition("\n## 1.0.0")[0]
        text = re.sub(r"\n### (?:Removed|Renamed keys)\n.*?(?=\n##)", "", text, flags=re.DOTALL)
    return text


def blocks_in(name: str, language: str) -> list[str]:
    """Return the blocks of one language in a page."""
    return [block for found, block in read_blocks((ROOT / name).read_text()) if found == language]


def file_name(block: str) -> str:
    """Return the name in the first line of a block."""
    return block.partition("\n")[0].removeprefix("# ")


def read_examples() -> dict[str, dict[str, str]]:
    """Return the blocks of docs/extending.md by section and language; no section has two of one language."""
    sections = re.split(r"^## ", (ROOT / "docs" / "extending.md").read_text(), flags=re.MULTILINE)[1:]
    examples = {section.partition("\n")[0]: read_blocks(section) for section in sections}
    for title, blocks in examples.items():
        assert len(dict(blocks)) == len(blocks), title
    return {title: dict(blocks) for title, blocks in examples.items()}


EXAMPLES = read_examples()
MODULES = [file_name(blocks["python"]).removesuffix(".py") for blocks in EXAMPLES.values()]


@pytest.fixture(autouse=True)
def _forgotten_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo the registrations, the keys and the imports of an example."""
    assert registry.BACKBONES["timm/resnet18"]  # of the last module: all have registered their networks
    for name in ("BACKBONES", "BOX_HEADS", "BOX_PREDICTORS"):
        monkeypatch.setattr(registry, name, copy.copy(getattr(registry, name)))
    monkeypatch.setattr(catalog, "DATASET_FORMATS", copy.copy(catalog.DATASET_FORMATS))
    monkeypatch.setattr(config, "cfg", config.cfg.clone())
    yield
    for name in (*MODULES, "train"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the configs, every file of the page, and the shop's images and tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for blocks in EXAMPLES.values():
        for language in {"python", "yaml"} & blocks.keys():
            (tmp_path / file_name(blocks[language])).write_text(blocks[language])
    images = tmp_path / "datasets" / "shop" / "images"
    images.mkdir(parents=True)
    for number, name in enumerate(("shelf1.png", "shelf2.png", "empty.png")):
        write_image(np.random.default_rng(number).integers(0, 256, (96, 128, 3), np.uint8), images / name)
    for name in ("train.csv", "test.csv"):
        (images.parent / name).write_text(EXAMPLES["A dataset"]["csv"])
    return tmp_path


def execute(title: str) -> dict[str, Any]:
    """Run the Python block of a section in a new namespace, and return that."""
    block = EXAMPLES[title]["python"]
    namespace: dict[str, Any] = {"__name__": Path(file_name(block)).stem}
    exec(compile(block, file_name(block), "exec"), namespace)
    return namespace


def train_and_detect(model: SSDDetector, size: tuple[int, int]) -> None:
    """Train on an image with an object for every level and one without any, then detect.

    Every parameter must get a gradient.
    """
    sides = torch.tensor([0.1, 0.2, 0.37, 0.54, 0.71, 0.88])
    boxes = torch.stack([sides * 0 + 0.05, sides * 0 + 0.05, sides + 0.05, sides + 0.05], dim=1)
    labels = torch.tensor([1, 2, 1, 2, 1, 2])
    targets = Container(boxes=torch.stack([boxes, boxes * 0]), labels=torch.stack([labels, labels * 0]))
    losses = model.train()(torch.randn(2, 3, *size), targets)
    loss = torch.stack(list(losses.values())).sum()
    assert loss.isfinite()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    with torch.no_grad():
        detections = model.eval()(torch.randn(2, 3, *size))
    assert len(detections) == 2
    for image in detections:
        assert image["boxes"].shape == (len(image["labels"]), 4)
        assert image["scores"].diff().le(0).all()
        assert (image.img_height, image.img_width) == size


def test_backbone(folder) -> None:
    execute("A backbone")
    oracle = regnet_y_400mf().eval()
    torch.save(oracle.state_dict(), folder / "weights.pth")
    model = build_detection_model(load_config("regnet_ssd300.yaml", ["MODEL.BACKBONE.PRETRAINED", "weights.pth"]))
    assert len(model.box_head.priors) == 8732  # the levels of SSD300, so its priors

    expected = [torch.randn(1, 3, 300, 300)]
    with torch.no_grad():
        for layer in (oracle.stem, *oracle.trunk_output):
            expected.append(layer(expected[-1]))
        features = model.backbone.eval()(expected[0])
        x, strides = torch.zeros(1, 3, 320, 320), []
        for stage in model.backbone.freezable_stages():
            x = nn.Sequential(*stage)(x)
            strides.append(320 // x.shape[2])
    for feature, same in zip(features, expected[-3:], strict=False):  # the extra maps follow
        torch.testing.assert_close(feature, same, rtol=1e-5, atol=1e-5)
    assert strides == [2, 4, 8, 16, 32]
    train_and_detect(model, (300, 300))


def test_box_head(folder) -> None:
    focal_loss = execute("A box head")["focal_loss"]
    model = build_detection_model(load_config("focal_ssd300.yaml", SMALL_MODEL))
    plain = build_detection_model(load_config("configs/vgg_ssd300_voc0712.yaml", SMALL_MODEL))
    assert list(model.state_dict()) == list(plain.state_dict())

    # Logits (log 3, 0): p = 3/4 for class 0, 1/4 for class 1. (1 - p)^2 * -log p.
    logits = torch.tensor([[[3.0, 1.0], [3.0, 1.0]]]).log()
    expected = torch.tensor([[4 / 3, 4.0]]).log() * torch.tensor([1 / 16, 9 / 16])
    torch.testing.assert_close(focal_loss(logits, torch.tensor([[0, 1]]), 2.0), expected)
    train_and_detect(model, (96, 128))


def test_predictor(folder) -> None:
    execute("A predictor")
    model = build_detection_model(load_config("residual_ssd300.yaml", SMALL_MODEL))
    predictor = model.box_head.predictor
    assert predictor.reduction == 8
    train_and_detect(model, (96, 128))

    # Each last convolution returns its channel: a * C + c for class c of prior a, a * 4 + k for offset k.
    for header in (*predictor.cls_headers, *predictor.reg_headers):
        last_conv = [module for module in header.modules() if isinstance(module, nn.Conv2d)][-1]
        nn.init.zeros_(last_conv.weight)
        last_conv.bias.data = torch.arange(len(last_conv.bias)).float()
    with torch.no_grad():
        cls_logits, bbox_pred = model.predict(torch.randn(1, 3, 96, 128))
    assert torch.equal(cls_logits, torch.arange(4 * 21.0).view(4, 21).repeat(NUM_PRIORS // 4, 1)[None])
    assert torch.equal(bbox_pred, torch.arange(16.0).view(4, 4).repeat(NUM_PRIORS // 4, 1)[None])
    with pytest.raises(ConfigError, match=r"MODEL\.BOX_HEAD\.REDUCTIO\b"):
        load_config("residual_ssd300.yaml", ["MODEL.BOX_HEAD.REDUCTIO", 2])


def test_dataset(folder) -> None:
    execute("A dataset")
    cfg = load_config("shop.yaml")
    (training,) = build_datasets(cfg, is_train=True)
    assert training.class_names == ("__background__", "apple", "pear")
    image, annotation, index = training[0]
    assert (image.shape, image.dtype, index) == ((96, 128, 3), np.uint8, 0)
    assert annotation["boxes"].tolist() == [[10, 12, 58, 60], [70, 20, 110, 84]]
    assert annotation["labels"].tolist() == [1, 2]
    assert training.get_img_info(0) == {"height": 96, "width": 128}
    assert [len(training[index][1]["labels"]) for index in range(len(training))] == [2, 1, 0]

    class_names = ("__background__", "pear", "plum", "apple")  # those of a checkpoint, for example
    (testing,) = build_datasets(cfg, is_train=False, class_names=class_names)
    assert testing[0][1]["labels"].tolist() == [3, 1]
    annotations = [testing.get_annotation(index)[1] for index in range(3)]
    perfect = [Container(boxes=b, labels=n, scores=np.ones(len(n), np.float32)) for b, n in annotations]
    result = evaluate(testing, perfect, folder / "perfect")
    assert (result.metric, result.main) == ("voc", 1.0)
    swapped = [Container(boxes=b, labels=4 - n, scores=np.ones(len(n), np.float32)) for b, n in annotations]
    assert evaluate(testing, swapped, folder / "swapped").main == 0.0


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        ("shelf1.png,1,2,3,4,aple", r"train\.csv.*shelf1\.png.*'aple'.*'apple'"),
        ("shelf1.png,1,2,3,x,apple", r"train\.csv.*shelf1\.png.*'x'"),
        ("shelf1.png,1,2,3", r"train\.csv.*shelf1\.png.*''"),
        ("shelf3.png,1,2,3,4,apple", r"shelf3\.png"),
    ],
)
def test_mistakes_in_the_table(folder, row, fact) -> None:
    execute("A dataset")
    table = folder / "datasets" / "shop" / "train.csv"
    table.write_text(table.read_text() + row)
    with pytest.raises(DatasetError, match=fact):
        build_datasets(load_config("shop.yaml"), is_train=True)


def test_script_that_imports_the_parts(folder, monkeypatch, capsys) -> None:
    """All parts of the page but the backbone, which is slow: training, evaluation, transfer to other classes."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(folder)
    parts = ["MODEL.BOX_HEAD.NAME", "FocalBoxHead", "MODEL.BOX_HEAD.PREDICTOR", "ResidualBoxPredictor"]

    def train(*args: object) -> dict[str, Any]:
        words = ["train_mine.py", "--config-file", "shop.yaml", *SMALL_MODEL, *parts, "SOLVER.MAX_ITER", 1, *args]
        monkeypatch.setattr(sys, "argv", [*map(str, words)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path("train_mine.py", run_name="__main__")
        assert exit_info.value.code == 0, capsys.readouterr().err
        checkpoint: dict[str, Any] = torch.load(Path(words[-1], "model_final.pth"), weights_only=True)
        return checkpoint

    first = train("OUTPUT_DIR", "outputs/shop")
    assert "shop_test, voc:" in capsys.readouterr().out
    assert "regnet_y_400mf" in registry.BACKBONES
    names = ["pear", "apple"]
    classes = ["DATASETS.CUSTOM.shop_train.CLASSES", names, "DATASETS.CUSTOM.shop_test.CLASSES", names]
    start = ["MODEL.WEIGHTS", "outputs/shop/model_final.pth", "SOLVER.LR", 1e-9]
    second = train("--skip-test", *classes, *start, "OUTPUT_DIR", "outputs/swapped")
    assert second["class_names"] == ["__background__", "pear", "apple"]
    name = "box_head.predictor.cls_headers.0.1.weight"
    before, after = (state["model"][name].unflatten(0, (4, 3)) for state in (first, second))
    torch.testing.assert_close(after, before[:, [0, 2, 1]])


def test_a_part_that_was_not_imported(folder) -> None:
    with pytest.raises(ConfigError, match="'regnet_y_400mf'"):
        build_detection_model(load_config("regnet_ssd300.yaml"))


@pytest.fixture
def photos(detector_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the files that the pages on inference name, with the images of the demo."""
    monkeypatch.chdir(tmp_path)
    for name in ("model.pth", "outputs/quickstart/model_final.pth"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(detector_file, name)
    for folder in ("demo", "photos"):
        shutil.copytree(ROOT / "demo", folder, ignore=shutil.ignore_patterns("result"))
    images = [read_image(path) for path in sorted(Path("photos").iterdir())]
    write_image(images[0], Path("street.jpg"))
    write_image(np.tile(images[1], (2, 3, 1)), Path("aerial.jpg"))
    with VideoWriter(Path("film.mp4"), 25) as writer:
        for image in images:
            writer.write(image)
    return tmp_path


def test_python_in_the_readme(photos, capsys) -> None:
    (block,) = blocks_in("README.md", "python")
    exec(compile(block, "README.md", "exec"), {})
    *rows, last = capsys.readouterr().out.strip().rsplit("\n", 6)
    detector = ssd.init_detector("model.pth")
    found, (*_, end) = detector("demo/scene_1.jpg"), detector.predict("demo")
    assert "\n".join(rows).startswith(f"{found.names[0]} {found.scores[0]:.2f} [")
    assert last == f"{end.name} {end.counts}"
    found.save("expected.jpg")
    assert Path("found.jpg").read_bytes() == Path("expected.jpg").read_bytes()


def test_python_of_inference(photos, capsys) -> None:
    """Run block by block, in one namespace, and compare the results with the page."""
    one, convert, many, failing, film, tiles, coco = blocks_in("docs/inference.md", "python")
    names: dict[str, Any] = {}

    def run(block: str) -> str:
        exec(compile(block, "inference.md", "exec"), names)
        return capsys.readouterr().out

    assert run(one).startswith(f"{names['result'].names[0]} {names['result'].scores[0]:.2f} at [")
    assert read_image("found.jpg").shape == (240, 320, 3)

    run(convert)
    assert set(names["sure"].names) <= {"cat", "dog"}
    assert 0 < len(names["best"]) <= 3
    assert names["sure"].scores.min() > 0.6
    assert names["pixels"].shape == (240, 320, 3)
    assert [record["image_id"] for record in names["records"]] == [7] * len(names["best"])
    assert names["annotation"].count("<object>") == len(names["best"])
    assert json.loads(names["line"])["objects"][0]["name"] == names["best"].names[0]

    found = names["detector"].predict("photos")
    assert run(many).splitlines() == [f"{one.name} {len(one.filter(0.5))}" for one in found]
    Path("photos/bad.jpg").touch()
    assert run(failing) == "6 images, 1 failed\n"
    Path("photos/bad.jpg").unlink()
    run(film)
    assert cv2.VideoCapture("annotated.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 6
    run(tiles)
    assert names["result"].orig_size == (960, 480)
    run(coco)
    assert {record["category_id"] for record in names["records"]} <= {17, 18, 25}
    assert {record["image_id"] for record in names["records"]} == set(range(1, 7))


def test_json_of_inference(photos) -> None:
    """The example on the page has the keys of the file, with values of the same types."""
    (example,) = blocks_in("docs/inference.md", "json")
    with Outputs(("__background__", "cat"), json=photos / "found.json") as outputs:
        for source, num_objects in (("photos", 1), ("film.mp4", 0)):
            outputs.add(ssd.init_detector("model.pth").predict(source)[0][:num_objects])
        outputs.failures.append("photos/2.jpg: the file is empty")
    written = json.loads((photos / "found.json").read_text())
    assert skeleton(json.loads(example)) == skeleton(written)


def skeleton(value: Any) -> Any:
    """Replace values by their types, and the items of a list by one of each kind."""
    if isinstance(value, dict):
        return {key: skeleton(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(skeleton(item)) for item in value if item != []})
    return type(value).__name__


def test_python_of_the_report(folder, capsys) -> None:
    """Analyse the dataset of docs/extending.md, without a detection."""
    execute("A dataset")
    (dataset,) = build_datasets(load_config("shop.yaml"), is_train=False)
    nothing = Container(boxes=np.empty((0, 4)), labels=np.empty(0, np.int64), scores=np.empty(0))
    (block,) = blocks_in("docs/report.md", "python")
    exec(compile(block, "report.md", "exec"), {"dataset": dataset, "predictions": [nothing] * len(dataset)})
    assert capsys.readouterr().out == "0 2 0\n1 1 0\n"


@every_page
def test_commands_are_parsed(page, monkeypatch) -> None:
    """Those of blocks and of the prose, where the name of a command is enough."""
    for name in ("write_scenes", "write_samples"):
        monkeypatch.setattr(scenes_command, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("this test", "ok", "")])
    for words in commands_in(page):
        read_command(words)
    for block in (block for language, block in read_blocks(page.read_text()) if language == "bash"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    monkeypatch.setattr(Parser, "missing", lambda *_: None)  # the prose names flags alone
    for text in re.findall(INLINE, re.sub(BLOCK, "", current_text(page))):
        for words in split_commands(text.replace("\n", " ")):
            read_command(words, is_name_enough=True)


def read_command(words: list[str], *, is_name_enough: bool = False) -> None:
    """Parse a command and merge its overrides; fail for an unknown program."""
    match words:
        case ["torchrun", *rest]:
            launch = torchrun.get_args_parser().parse_args(rest)
            if launch.training_script != "...":
                read_python(["-m"] * launch.module + [launch.training_script, *launch.training_script_args])
        case ["python", *rest]:
            read_python(rest, is_name_enough=is_name_enough)
        case ["ssd", *rest]:
            read_python(["-m", "ssd", *rest], is_name_enough=is_name_enough)
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), target
        case ["pip", *rest]:
            for extra in re.findall(r"\w+", " ".join(re.findall(r"\[(.+)\]", " ".join(rest)))):
                assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE), extra
        case [program, *_]:
            assert program in FOREIGN, words


def read_python(words: list[str], *, is_name_enough: bool = False) -> None:
    """Parse the words of a command after "python"."""
    match words:
        case ["-m", "ssd", "data", part, *rest]:
            module = data_command.COMMANDS[part][0]
        case ["-m", "ssd", name, *rest]:
            module = cli.HIDDEN.get(name) or cli.COMMANDS[name][0]
        case ["-m", "benchmarks", "accuracy", *rest]:
            module = "benchmarks.accuracy"
        case ["-m", "benchmarks", *rest]:
            module = "benchmarks.__main__"
        case ["-m", ("venv" | "build" | "http.server"), *_]:
            return
        case ["-m", module, *rest]:
            pass
        case [("train.py" | "train_mine.py" | "test.py" | "demo.py") as script, *rest]:
            module = f"ssd.commands.{script.removesuffix('.py').removesuffix('_mine')}"
        case [script, *_]:
            assert (ROOT / script).is_file(), script
            return
    imported = importlib.import_module(module)
    if rest or not is_name_enough:
        parsed = getattr(imported, "parse_args", imported.main)(rest)
        config.cfg.with_overrides([word for word in getattr(parsed, "opts", None) or [] if word != "..."])


@every_page
def test_keys_of_the_config_exist(page) -> None:
    """Also those that omit the first groups, such as PRIORS.STRIDES."""
    known = {"MODEL.BOX_HEAD.REDUCTION"}  # docs/extending.md adds it
    for name, _ in walk(config.cfg, ()):
        known |= {".".join(name[start:]) for start in range(len(name))}
    assert not set(re.findall(r"\b[A-Z][A-Z0-9_]+(?:\.[A-Z][A-Z0-9_]*)+\b", current_text(page))) - known


def walk(node: dict[str, Any], name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every key of a config, groups included, as a path with its value."""
    for key, value in node.items():
        yield (*name, key), value
        if isinstance(value, dict):
            yield from walk(value, (*name, key))


YAML_PAGES = [f"docs/{name}.md" for name in ("data", "weights", "tutorial/fine-tune", "interop")]


@pytest.mark.parametrize("page", YAML_PAGES)
def test_yaml_is_a_config(page, folder) -> None:
    (block,) = blocks_in(page, "yaml")
    (folder / "block.yaml").write_text(block)
    cfg = load_config("block.yaml")
    if page == "docs/interop.md":  # starts from the network of its base
        base = load_config("configs/interop/torchvision_ssd300_coco.yaml")
        assert (cfg.INPUT, cfg.TEST, cfg.MODEL.PRIORS) == (base.INPUT, base.TEST, base.MODEL.PRIORS)
        assert cfg.MODEL.NUM_CLASSES == 0


@pytest.mark.parametrize("page", ["docs/migrating.md", "docs/zoo.md", "docs/interop.md"])
def test_tables_name_configs(page) -> None:
    """In the column that is called config."""
    tables = re.findall(r"^\|(.*\bconfig\b.*)\|\n\|[-|]+\n((?:\|.*\n)+)", (ROOT / page).read_text(), re.MULTILINE)
    assert tables
    for head, rows in tables:
        column = [cell.strip() for cell in head.split("|")].index("config")
        for row in rows.splitlines():
            for name in re.findall(r"`(.+?)`", row.strip("|").split("|")[column]):
                assert {f"{name}.yaml", f"interop/{name}.yaml"} & {*shipped_names()}, row


def test_foreign_checkpoints_have_their_rows() -> None:
    """Each kind names its configs and how it was verified; the zoo has the same figures."""
    interop = (ROOT / "docs" / "interop.md").read_text()
    kinds, verified = (
        section
        for section in re.split(r"^## ", interop, flags=re.MULTILINE)
        if section.startswith(("Kinds", "How it was verified"))
    )
    for name in all_formats():
        for section in (kinds, verified):
            assert re.search(rf"^\|[^|]*`{name}`", section, flags=re.MULTILINE), name
    for path in (ROOT / "configs" / "interop").iterdir():
        assert re.search(rf"`(interop/)?{path.stem}`", kinds), path.stem
    for model in zoo_models().values():
        (row,) = (row for row in kinds.splitlines() if f"`{model.file}`" in row)
        for figure in filter(None, model.figure.split(", ")):
            assert re.search(rf"(?<![\d.]){figure}(?!\d|\.\d)", row), (figure, model.file)


def test_the_zoo_is_that_of_the_library() -> None:
    tables = runpy.run_path(str(ROOT / "docs" / "make_zoo.py"))["make_tables"]()
    assert tables in (ROOT / "docs" / "zoo.md").read_text()


@every_page
def test_paths_exist(page) -> None:
    """Links, files of the repository in the prose, and files of commands, unless the page or a command writes them."""
    prose = re.sub(BLOCK, "", current_text(page))
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    assert not [path for path in links if path and not (page.parent / path).exists()]
    named = re.findall(r"`((?:ssd|tests|docs|configs|benchmarks)/[\w./-]+)`", prose)
    assert not [path for path in named if not (ROOT / path).exists()]

    known = {file_name(block) for _, block in read_blocks(page.read_text())} | {*shipped_names()}
    commands = commands_in(page)
    for option, word in (pair for words in commands for pair in itertools.pairwise(words)):
        if option in ("-o", "--fit", "--write-config", "--write_config"):
            known.add(word)
    files = {word for words in commands for word in words if word.endswith((".py", ".yaml"))}
    assert not [name for name in files - known if not (ROOT / name).is_file()]
    if page.name == "migrating.md":
        assert files >= {"train.py", "demo.py", "configs/vgg_ssd300_voc0712.yaml"}


def commands_in(page: Path) -> list[list[str]]:
    """Return the words of each command in the bash blocks; in a script those after torchrun and ssd."""
    commands = []
    for language, block in read_blocks(page.read_text()):
        lines = block.replace("\\\n", " ").splitlines() if language == "bash" else []
        if block.startswith(SCRIPTS):
            lines = [match[0] for line in lines if (match := re.search(r"\b(?:torchrun|ssd) [^;&]+", line))]
        commands += [words for line in lines for words in split_commands(line)]
    return commands


def split_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line."""
    for is_between, words in itertools.groupby(shlex.split(line, comments=True), key="&&".__eq__):
        if not is_between:
            yield list(words)
