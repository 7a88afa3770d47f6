"""The documentation: its examples run, its links and commands lead to files."""

import copy
import importlib
import itertools
import json
import math
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
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
from ssd.config import load_config
from ssd.config.files import shipped_names
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, catalog, make_batch_transform, make_test_loader, make_train_loader
from ssd.engine.trainer import step
from ssd.evaluation import evaluate
from ssd.inference.outputs import Outputs
from ssd.inference.video_writer import VideoWriter
from ssd.modeling import registry
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.tools.doctor import Finding
from ssd.utils.errors import ConfigError, DatasetError
from ssd.utils.image import read_image, write_image
from ssd.weights.formats import FORMATS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Indentation, language and content of a fenced block; a block in a list is indented.
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:ssd|python|torchrun|make|pip) [^`]+)`")
SCRIPTS = ("#!", "until ")  # what a block begins with that is more than commands, line by line
# Programs that are not of this library.
FOREIGN = {"git", "cd", ".", "apt-get", "pre-commit"}

# What makes the detectors of the examples small; the parts that an example adds stay as it says.
SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "MODEL.DEVICE", "cpu"),
    *("INPUT.IMAGE_SIZE", (96, 128), "MODEL.PRIORS.MIN_SIZES", [16, 32, 48, 64]),
    *("MODEL.PRIORS.MAX_SIZES", [32, 48, 64, 96], "MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
    *("DATA_LOADER.NUM_WORKERS", 0, "SOLVER.BATCH_SIZE", 2),
]
OWN_PARTS = [*SMALL, "MODEL.BOX_HEAD.NAME", "FocalBoxHead", "MODEL.BOX_HEAD.PREDICTOR", "ResidualBoxPredictor"]
NUM_PRIORS = 4 * (12 * 16 + 6 * 8 + 3 * 4 + 2 * 2)  # of SMALL: 2 + 2 a cell, at strides 8, 16, 32 and 64


def read_blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return [(language, textwrap.dedent(content)) for _, language, content in re.findall(BLOCK, text)]


def file_name(block: str) -> str:
    """The file that a block is, by its first line."""
    return block.partition("\n")[0].removeprefix("# ")


def read_examples() -> dict[str, dict[str, str]]:
    """The blocks of docs/extending.md by section and language; no section has two of one language."""
    sections = re.split(r"^## ", (ROOT / "docs" / "extending.md").read_text(), flags=re.MULTILINE)[1:]
    examples = {section.partition("\n")[0]: read_blocks(section) for section in sections}
    for title, blocks in examples.items():
        assert len(dict(blocks)) == len(blocks), title
    return {title: dict(blocks) for title, blocks in examples.items()}


EXAMPLES = read_examples()
MODULES = [file_name(blocks["python"]).removesuffix(".py") for blocks in EXAMPLES.values()]


@pytest.fixture(autouse=True)
def _forgotten_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever an example registers, adds to the defaults or imports is gone after its test."""
    for name in ("BACKBONES", "BOX_HEADS", "BOX_PREDICTORS"):
        monkeypatch.setattr(registry, name, copy.copy(getattr(registry, name)))
    monkeypatch.setattr(catalog, "DATASET_FORMATS", copy.copy(catalog.DATASET_FORMATS))
    monkeypatch.setattr(config, "cfg", config.cfg.clone())
    yield
    for name in (*MODULES, "train"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the configs of the library, every file of the page, and the shop's images and tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for blocks in EXAMPLES.values():
        for language in {"python", "yaml"} & blocks.keys():
            (tmp_path / file_name(blocks[language])).write_text(blocks[language])
    images = tmp_path / "datasets" / "shop" / "images"
    images.mkdir(parents=True)
    for number, name in enumerate(("shelf1.png", "shelf2.png", "empty.png")):
        noise = np.random.default_rng(number).integers(0, 256, (96, 128, 3), np.uint8)
        assert cv2.imwrite(str(images / name), noise)
    for name in ("train.csv", "test.csv"):
        (images.parent / name).write_text(EXAMPLES["A dataset"]["csv"])
    return tmp_path


@pytest.fixture
def train_mine(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run train_mine.py in this process, as from the folder that it and train.py are in; return what it logs."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(folder)

    def run_script(*args: object) -> str:
        monkeypatch.setattr(sys, "argv", ["train_mine.py", *map(str, args)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path("train_mine.py", run_name="__main__")
        output = capsys.readouterr()
        assert exit_info.value.code == 0, output.err
        return output.out

    return run_script


def execute(title: str) -> dict[str, Any]:
    """Run the Python block of a section in a namespace of its own, and return that."""
    block = EXAMPLES[title]["python"]
    namespace: dict[str, Any] = {"__name__": Path(file_name(block)).stem}
    exec(compile(block, file_name(block), "exec"), namespace)
    return namespace


def train_a_step(model: nn.Module, size: tuple[int, int]) -> None:
    """Train on an image with an object for every level and one without any; see that every parameter learns from it."""
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


@torch.no_grad()
def detect(model: nn.Module, size: tuple[int, int]) -> None:
    """Detect in two images, and see that what comes is what the engine takes."""
    detections = model.eval()(torch.randn(2, 3, *size))
    assert len(detections) == 2
    for image in detections:
        assert image["boxes"].shape == (len(image["labels"]), 4)
        assert image["scores"].diff().le(0).all()
        assert (image.img_height, image.img_width) == size


def test_backbone(folder: Path) -> None:
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
    for feature, same in zip(features, expected[-3:], strict=False):  # the extra maps follow
        torch.testing.assert_close(feature, same, rtol=1e-5, atol=1e-5)

    train_a_step(model, (300, 300))
    detect(model, (300, 300))


def test_backbone_stages(folder: Path) -> None:
    execute("A backbone")
    options = ["MODEL.BACKBONE.PRETRAINED", False, "MODEL.BACKBONE.FREEZE_STAGES", 2]
    backbone = build_detection_model(load_config("regnet_ssd300.yaml", options)).backbone.eval()
    x = torch.randn(1, 3, 320, 320)
    for number, stage in enumerate(backbone.freezable_stages(), start=1):
        with torch.no_grad():
            x = nn.Sequential(*stage)(x)
        assert x.shape[2] == 320 // 2**number
        parameters = [parameter for layer in stage for parameter in layer.parameters()]
        assert {parameter.requires_grad for parameter in parameters} == {number > 2}
    assert number == 5


def test_box_head(folder: Path) -> None:
    focal_loss = execute("A box head")["focal_loss"]
    cfg = load_config("focal_ssd300.yaml", SMALL)
    model = build_detection_model(cfg)
    assert model.box_head.gamma == 1.5
    plain = build_detection_model(load_config("configs/vgg_ssd300_voc0712.yaml", SMALL))
    assert list(model.state_dict()) == list(plain.state_dict())

    # Logits (log 3, 0): p = 3/4 for class 0, 1/4 for class 1. (1 - p)^2 * -log p.
    logits = torch.tensor([[[math.log(3), 0.0], [math.log(3), 0.0]]])
    expected = torch.tensor([[math.log(4 / 3) / 16, math.log(4) * 9 / 16]])
    torch.testing.assert_close(focal_loss(logits, torch.tensor([[0, 1]]), 2.0), expected)

    cls_logits, _ = model.box_head.predictor([torch.zeros(1, n, 2, 2) for n in (64, 128, 128, 128)])
    background = cls_logits.softmax(dim=2)[..., 0]
    torch.testing.assert_close(background, torch.full((1, 4 * 4 * 4), 0.99))

    train_a_step(model, (96, 128))
    detect(model, (96, 128))
    with pytest.raises(ConfigError, match=r"unknown key MODEL\.BOX_HEAD\.FOCAL_GAMA"):
        load_config("focal_ssd300.yaml", ["MODEL.BOX_HEAD.FOCAL_GAMA", 2.0])


def test_predictor(folder: Path) -> None:
    execute("A predictor")
    model = build_detection_model(load_config("residual_ssd300.yaml", SMALL))
    train_a_step(model, (96, 128))
    detect(model, (96, 128))

    # Each last convolution is made to say its channel: a * C + c for class c of prior a, a * 4 + k for offset k.
    predictor = model.box_head.predictor
    for header in (*predictor.cls_headers, *predictor.reg_headers):
        last_conv = [module for module in header.modules() if isinstance(module, nn.Conv2d)][-1]
        nn.init.zeros_(last_conv.weight)
        last_conv.bias.data = torch.arange(len(last_conv.bias)).float()
    with torch.no_grad():
        cls_logits, bbox_pred = predictor(model.backbone(torch.randn(1, 3, 96, 128)))
    assert torch.equal(cls_logits, torch.arange(4 * 21.0).view(4, 21).repeat(NUM_PRIORS // 4, 1)[None])
    assert torch.equal(bbox_pred, torch.arange(16.0).view(4, 4).repeat(NUM_PRIORS // 4, 1)[None])


def test_dataset(folder: Path) -> None:
    execute("A dataset")
    cfg = load_config("shop.yaml", [*SMALL, "SOLVER.MAX_ITER", 1, "SOLVER.BATCH_SIZE", 3])
    (training,) = build_datasets(cfg, is_train=True)
    assert training.class_names == ("__background__", "apple", "pear")
    image, annotation, index = training[0]
    assert (image.shape, image.dtype, index) == ((96, 128, 3), np.uint8, 0)
    assert annotation["boxes"].tolist() == [[10, 12, 58, 60], [70, 20, 110, 84]]
    assert annotation["labels"].tolist() == [1, 2]
    assert training.get_img_info(0) == {"height": 96, "width": 128}
    assert len(training) == 3
    assert len(training[2][1]["labels"]) == 0

    model = build_detection_model(with_num_classes(cfg, training.class_names)).train()
    ((images, targets, _),) = make_train_loader(cfg, [training])
    images = make_batch_transform(cfg, is_train=True)(images, targets, 0)
    losses = step(model, torch.optim.SGD(model.parameters(), lr=1e-3), images, targets)
    assert losses["total_loss"].isfinite()
    assert losses["reg_loss"] > 0

    class_names = ("__background__", "pear", "plum", "apple")  # those of a checkpoint, say
    (testing,) = build_datasets(cfg, is_train=False, class_names=class_names)
    assert testing[0][1]["labels"].tolist() == [3, 1]
    sizes = torch.cat([batch[1] for batch in make_test_loader(cfg, testing)])
    assert sizes.tolist() == [[96, 128]] * 3
    annotations = [testing.get_annotation(index)[1] for index in range(3)]
    perfect = [Container(boxes=b, labels=n, scores=np.ones(len(n), np.float32)) for b, n in annotations]
    result = evaluate(testing, perfect, folder / "perfect")
    assert (result.metric, result.main) == ("voc", 1.0)
    swapped = [Container(boxes=b, labels=4 - n, scores=np.ones(len(n), np.float32)) for b, n in annotations]
    assert evaluate(testing, swapped, folder / "swapped").main == 0.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("shelf1.png,1,2,3,4,aple", r"train\.csv: shelf1\.png: unknown class 'aple'; did you mean 'apple'"),
        ("shelf1.png,1,2,3,x,apple", r"train\.csv: shelf1\.png: could not convert string to float: 'x'"),
        ("shelf1.png,1,2,3", r"train\.csv: shelf1\.png: could not convert string to float: ''"),
        ("shelf3.png,1,2,3,4,apple", r"image datasets.shop.images.shelf3\.png does not exist"),
    ],
)
def test_mistakes_in_the_table(folder: Path, row: str, message: str) -> None:
    execute("A dataset")
    table = folder / "datasets" / "shop" / "train.csv"
    table.write_text(table.read_text() + row)
    with pytest.raises(DatasetError, match=message):
        build_datasets(load_config("shop.yaml"), is_train=True)


def test_script_that_imports_the_parts(folder: Path, train_mine: Callable[..., str]) -> None:
    """All parts of the page but the backbone, which is slow: training, evaluation, transfer to other classes."""
    log = train_mine("--config-file", "shop.yaml", *OWN_PARTS, "SOLVER.MAX_ITER", 1)
    assert "shop_test, voc:" in log
    assert "regnet_y_400mf" in registry.BACKBONES
    first = torch.load(folder / "outputs" / "shop" / "model_final.pth", weights_only=True)

    classes = [f"DATASETS.CUSTOM.shop_{name}.CLASSES" for name in ("train", "test")]
    options = [*OWN_PARTS, classes[0], ["pear", "apple"], classes[1], ["pear", "apple"], "SOLVER.LR", 1e-9]
    options += ["MODEL.WEIGHTS", "outputs/shop/model_final.pth", "OUTPUT_DIR", "outputs/swapped", "SOLVER.MAX_ITER", 1]
    train_mine("--config-file", "shop.yaml", "--skip-test", *options)
    second = torch.load(folder / "outputs" / "swapped" / "model_final.pth", weights_only=True)
    assert second["class_names"] == ["__background__", "pear", "apple"]
    name = "box_head.predictor.cls_headers.0.1.weight"
    before, after = (state["model"][name].unflatten(0, (4, 3)) for state in (first, second))
    torch.testing.assert_close(after, before[:, [0, 2, 1]])


def test_a_part_that_was_not_imported(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'regnet_y_400mf'.*Registered: "):
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


def python_blocks(document: str) -> list[str]:
    return [block for language, block in read_blocks((ROOT / document).read_text()) if language == "python"]


def test_python_in_the_readme(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = python_blocks("README.md")
    namespace: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), namespace)
    names, *counts = capsys.readouterr().out.strip().rsplit("\n", 6)
    found = ssd.init_detector("model.pth").predict("demo")
    assert names.startswith(str(found[0].names))
    assert counts == [f"{one.name} {(one.scores > 0.5).sum()}" for one in found]
    expected = found[0].draw(0.5).astype(int)
    assert np.abs(read_image("found.jpg") - expected).mean() < 4


def test_python_of_inference(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Block by block, in one namespace; what each leaves is what the page says."""
    one, convert, many, failing, film, tiles, coco = python_blocks("docs/inference.md")
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

    assert run(many).splitlines() == [
        f"{one.name} {len(one.filter(0.5))}" for one in names["detector"].predict("photos")
    ]
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


def test_json_of_inference(photos: Path) -> None:
    """The example on the page has the keys of what is written, with values of the same types."""
    (example,) = (
        block for language, block in read_blocks((ROOT / "docs/inference.md").read_text()) if language == "json"
    )
    with Outputs(("__background__", "cat"), json=photos / "found.json") as outputs:
        for source, num_objects in (("photos", 1), ("film.mp4", 0)):
            outputs.add(ssd.init_detector("model.pth").predict(source)[0][:num_objects])
        outputs.failures.append("photos/2.jpg: the file is empty")
    written = json.loads((photos / "found.json").read_text())
    assert skeleton(json.loads(example)) == skeleton(written)


def skeleton(value: Any) -> Any:
    """A JSON value with types in place of values, and of a list's items one of each kind."""
    if isinstance(value, dict):
        return {key: skeleton(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(skeleton(item)) for item in value if item != []})
    return type(value).__name__


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_commands_are_read_by_what_they_call(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of blocks and those of the prose; one of the prose may be a name alone."""
    for name in ("write_scenes", "write_samples"):
        monkeypatch.setattr(scenes_command, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("this test", "ok", "")])
    for words in commands_in(document):
        read_command(words)
    prose = re.sub(BLOCK, "", document.read_text())
    for text in re.findall(INLINE, prose):
        for words in split_commands(text.replace("\n", " ")):
            read_command(words, is_name_enough=True)


def read_command(words: list[str], *, is_name_enough: bool = False) -> None:
    """Have a command parsed by what it calls, and its overrides merged; fail for a program that is not known."""
    match words:
        case ["torchrun", *rest]:
            launch = torchrun.get_args_parser().parse_args(rest)
            if launch.training_script != "...":
                read_python(["-m"] * launch.module + [launch.training_script, *launch.training_script_args])
        case ["python", *rest]:
            read_python(rest, is_name_enough=is_name_enough)
        case ["ssd", *rest]:
            read_python(["-m", "ssd.cli", *rest], is_name_enough=is_name_enough)
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), target
        case ["pip", *rest]:
            for extras in re.findall(r"\[(.+)\]", " ".join(rest)):
                for extra in extras.split(","):
                    assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE), extra
        case [program, *_]:
            assert program in FOREIGN, words


def read_python(words: list[str], *, is_name_enough: bool = False) -> None:
    """``read_command`` behind the word python."""
    match words:
        case ["-m", "ssd.cli", "data", part, *rest]:
            module = data_command.COMMANDS[part][0]
        case ["-m", "ssd.cli", name, *rest]:
            module = cli.COMMANDS[name][0]
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


@pytest.mark.parametrize("document", ["docs/distributed.md", "docs/how-to/preemption.md"])
def test_syntax_of_shell_scripts(document: str) -> None:
    blocks = [block for _, block in read_blocks((ROOT / document).read_text()) if block.startswith(SCRIPTS)]
    assert blocks
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_keys_of_the_config_exist(document: Path) -> None:
    """Also those that leave out the first groups, such as PRIORS.STRIDES."""
    known = set()
    for name, _ in walk(config.cfg, ()):
        known |= {".".join(name[start:]) for start in range(len(name))}
    own = {"MODEL.BOX_HEAD.FOCAL_GAMMA", "BOX_HEAD.FOCAL_GAMMA"}  # what docs/extending.md adds
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]+(?:\.[A-Z][A-Z0-9_]*)+\b", document.read_text()))
    assert not named - known - own


def walk(node: dict[str, Any], name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of a config, groups included, by its path."""
    for key, value in node.items():
        yield (*name, key), value
        if isinstance(value, dict):
            yield from walk(value, (*name, key))


@pytest.mark.parametrize("document", ["README.md", "docs/data.md", "docs/weights.md", "docs/tutorial/fine-tune.md"])
def test_yaml_is_a_config(document: str, tmp_path: Path) -> None:
    (block,) = (block for language, block in read_blocks((ROOT / document).read_text()) if language == "yaml")
    (tmp_path / "block.yaml").write_text(block)
    load_config(tmp_path / "block.yaml")


@pytest.mark.parametrize("document", ["README.md", "docs/zoo.md", "docs/interop.md"])
def test_tables_name_configs(document: str) -> None:
    """The column that is called config."""
    tables = re.findall(r"^\|(.*\bconfig\b.*)\|\n\|[-|]+\n((?:\|.*\n)+)", (ROOT / document).read_text(), re.MULTILINE)
    assert tables
    for head, rows in tables:
        column = [cell.strip() for cell in head.split("|")].index("config")
        for row in rows.splitlines():
            for name in re.findall(r"`(.+?)`", row.strip("|").split("|")[column]):
                assert {f"{name}.yaml", f"interop/{name}.yaml"} & {*shipped_names()}, row


def test_the_zoo_says_what_interop_says() -> None:
    """Of each file the same figure."""
    zoo, interop = ((ROOT / "docs" / name).read_text() for name in ("zoo.md", "interop.md"))
    kinds = interop.partition("## Kinds")[2].partition("\n## ")[0]
    files = re.findall(r"^\| ([\d.]+) \(.*`([\w.-]+\.(?:pth|pt|tar))`", zoo, flags=re.MULTILINE)
    assert len(files) == 18
    for figure, file in files:
        (row,) = (row for row in kinds.splitlines() if f"`{file}`" in row)
        assert re.search(rf"(?<![\d.]){figure}(?!\d|\.\d)", row), (file, figure)


def test_python_of_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the dataset of docs/extending.md, of whose objects none is found."""
    execute("A dataset")
    (dataset,) = build_datasets(load_config("shop.yaml"), is_train=False)
    nothing = Container(
        boxes=np.empty((0, 4), np.float32), labels=np.empty(0, np.int64), scores=np.empty(0, np.float32)
    )
    (block,) = python_blocks("docs/report.md")
    exec(compile(block, "report.md", "exec"), {"dataset": dataset, "predictions": [nothing] * len(dataset)})
    assert capsys.readouterr().out == "0 2 0\n1 1 0\n"


def test_every_kind_of_foreign_checkpoint_has_its_rows() -> None:
    """One that names its configs, and one that says how it was verified."""
    sections = re.split(r"^## ", (ROOT / "docs" / "interop.md").read_text(), flags=re.MULTILINE)
    kinds, verified = (section for section in sections if section.startswith(("Kinds", "How it was verified")))
    for name in FORMATS:
        for section in (kinds, verified):
            assert re.search(rf"^\|[^|]*`{name}`", section, flags=re.MULTILINE), name
    for path in (ROOT / "configs" / "interop").iterdir():
        assert re.search(rf"`(interop/)?{path.stem}`", kinds), path.stem


def test_yaml_of_interop_starts_from_the_network_of_its_base(folder: Path) -> None:
    (block,) = (
        block for language, block in read_blocks((ROOT / "docs" / "interop.md").read_text()) if language == "yaml"
    )
    (folder / file_name(block)).write_text(block)
    cfg, base = load_config(file_name(block)), load_config("configs/interop/torchvision_ssd300_coco.yaml")
    assert (cfg.INPUT, cfg.TEST, cfg.MODEL.PRIORS) == (base.INPUT, base.TEST, base.MODEL.PRIORS)
    assert cfg.MODEL.NUM_CLASSES == 0
    assert cfg.MODEL.WEIGHTS.startswith("https://download.pytorch.org/models/ssd300_vgg16_coco-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    prose = re.sub(BLOCK, "", document.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    paths = [target.partition("#")[0] for target in targets if "://" not in target]
    missing = [path for path in paths if path and not (document.parent / path).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_files(document: Path) -> None:
    """They exist, come with the library, the document itself gives them, or one of its commands writes them."""
    given = {file_name(block) for _, block in read_blocks(document.read_text())}
    elsewhere = set(named_files(document)) - given - set(written_files(document))
    assert not [name for name in elsewhere - set(shipped_names()) if not (ROOT / name).is_file()]


def test_commands_are_found() -> None:
    assert {"train.py", "demo.py", "configs/vgg_ssd300_voc0712.yaml"} <= set(named_files(ROOT / "README.md"))


def named_files(document: Path) -> list[str]:
    """The scripts and configs that the commands of a document name."""
    return [word for words in commands_in(document) for word in words if word.endswith((".py", ".yaml"))]


def written_files(document: Path) -> list[str]:
    """What the commands of a document are told to write."""
    pairs = [pair for words in commands_in(document) for pair in itertools.pairwise(words)]
    return [word for option, word in pairs if option in ("-o", "--fit", "--write-config", "--write_config")]


def commands_in(document: Path) -> list[list[str]]:
    """The words of each command of a document's bash blocks; of a script those behind torchrun and ssd."""
    commands = []
    for language, block in read_blocks(document.read_text()):
        lines = block.replace("\\\n", " ").splitlines() if language == "bash" else []
        if block.startswith(SCRIPTS):
            lines = [match[0] for line in lines if (match := re.search(r"\b(?:torchrun|ssd) [^;&]+", line))]
        commands += [words for line in lines for words in split_commands(line)]
    return commands


def split_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line."""
    for is_between, words in itertools.groupby(shlex.split(line, comments=True), key="&&".__eq__):
        if not is_between:
            yield list(words)
