"""ssd data: convert, split, browse, and the config that split writes."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ssd.commands.check_data import main as check_data
from ssd.commands.data import main
from ssd.commands.priors import main as priors
from ssd.config import load_config
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.engine.training_pictures import to_pixels
from ssd.tools.data.browse import augmented_samples

Run = Callable[..., str]


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `ssd data`, and return its output, or with ``status=1`` its errors."""

    def run(*arguments: object, status: int = 0) -> str:
        assert main([str(argument) for argument in arguments]) == status
        output, errors = capsys.readouterr()
        assert bool(errors) == bool(status)
        return errors if status else output

    return run


def boxes_of(config: str, folder: Path) -> dict[str, list]:
    """Boxes and labels by stem of the file, over all sets of a printed section DATASETS."""
    path = folder / "printed.yaml"
    custom = yaml.safe_load(config)["DATASETS"]["CUSTOM"]
    path.write_text(yaml.safe_dump({"DATASETS": {"CUSTOM": custom, "TEST": list(custom)}}))
    result = {}
    for dataset in build_datasets(load_config(path), is_train=False):
        for row in range(len(dataset)):
            boxes, labels = dataset.get_annotation(row)[1][:2]
            result[dataset.image_path(row).stem] = [boxes.tolist(), [dataset.class_names[label] for label in labels]]
    return result


def section(output: str) -> str:
    return "DATASETS:" + output.partition("DATASETS:")[2].partition("\n\n")[0]


def test_convert_prints_a_section_that_reads_the_result(data: Run, scenes: Path, tmp_path: Path) -> None:
    found = {}
    for name in ("voc", "coco", "yolo", "csv"):
        output = data("convert", scenes, "-o", tmp_path / name, "--to", name, "--link")
        found[name] = boxes_of(section(output), tmp_path)
        images = tmp_path / name / ("JPEGImages" if name == "voc" else "images")
        assert all(path.is_symlink() for path in images.iterdir())
    assert len(found["voc"]) == len(list((scenes / "JPEGImages").iterdir()))
    assert all(boxes == found["voc"] for boxes in found.values())


def test_convert_a_set_of_a_config(data: Run, config_file: Path, scenes: Path, tmp_path: Path) -> None:
    data("convert", f"{config_file}:train_scenes", "-o", tmp_path / "a", "--to", "csv")
    data("convert", "train_scenes", "--config-file", config_file, "-o", tmp_path / "b", "--to", "csv")
    tables = [(tmp_path / name / "train_scenes.csv").read_text() for name in "ab"]
    assert tables[0] == tables[1]
    options = ("-o", tmp_path / "c", "--to", "csv")
    assert "train_scenes" in data("convert", f"{config_file}:nothing", *options, status=1)
    assert str(tmp_path / "a") in data("convert", scenes, "-o", tmp_path / "a", "--to", "csv", status=1)
    assert not (tmp_path / "c").exists()


def test_convert_a_set_of_the_catalogue(data, scenes, tmp_path, monkeypatch):
    shutil.copytree(scenes, tmp_path / "VOC2007")
    for path in (tmp_path / "VOC2007/Annotations").iterdir():
        path.write_text(re.sub("<name>.*?</name>", "<name>cat</name>", path.read_text()))
    monkeypatch.setenv("VOC_ROOT", str(tmp_path))
    output = data("convert", "voc_2007_test", "-o", tmp_path / "new", "--to", "csv")
    assert len(boxes_of(section(output), tmp_path)) == 4
    options = ("-o", tmp_path / "b", "--to", "csv")
    assert "--split" in data("convert", "voc_2007_test", "--split", "a", *options, status=1)


@pytest.fixture
def tutorial(tmp_path: Path, scenes: Path) -> Path:
    """Images with .xml files beside them, and the table of each part that is made from them."""
    root = tmp_path / "tutorial"
    root.mkdir()
    for part in ("trainval", "test"):
        rows = ["filename,width,height,class,xmin,ymin,xmax,ymax\n"]
        for name in (scenes / f"ImageSets/Main/{part}.txt").read_text().split():
            (image,) = (scenes / "JPEGImages").glob(f"{name}.*")
            text = (scenes / f"Annotations/{name}.xml").read_text()
            shutil.copy(image, root / image.name)
            (root / f"{name}.xml").write_text(text)
            for label, *box in re.findall(r"(?s)<name>(.*?)<.*?<xmin>(\d+)<.*?>(\d+)<.*?>(\d+)<.*?>(\d+)<", text):
                rows.append(f"{image.name},128,96,{label},{','.join(box)}\n")
        (root / f"{part.replace('trainval', 'train')}_labels.csv").write_text("".join(rows))
    return root


def test_a_folder_with_two_formats(data, tutorial, tmp_path, config_file, capsys):
    output = data("split", tutorial, "-o", tmp_path / "a", "--link")
    for fact in ("12 images, voc", "VOC in", "with splits test, train"):
        assert fact in output
    tables = {part: (tutorial / f"{part}_labels.csv").read_text().splitlines()[1:] for part in ("train", "test")}
    boxed = {part: len({row.split(",")[0] for row in rows}) for part, rows in tables.items()}
    output = data("convert", tutorial, "-o", tmp_path / "b", "--to", "csv", "--format", "csv", "--link")
    assert f"{boxed['train'] + boxed['test']} images" in output
    assert (tmp_path / "b/train.csv").is_file()
    assert check_data([str(tutorial)]) == 0
    assert "all (train): 12 images listed, 12 readable" in capsys.readouterr().out
    path = tutorial / "train_labels.csv"
    path.write_text(path.read_text().rpartition("\n")[0].rpartition("\n")[0] + "\n")
    options = ("-o", tmp_path / "c", "--link")
    for arguments in (("split", tutorial, *options), ("convert", tutorial, *options, "--to", "coco"),
                      ("browse", tutorial)):  # fmt: skip
        assert "--format" in data(*arguments, status=1)
    for name, run in (("check-data", check_data), ("priors", priors)):
        assert run([str(tutorial)]) == 1, name
        assert "--format" in capsys.readouterr().err
    assert check_data([str(tutorial), "--format", "csv", "DATASETS.ON_ERROR", "skip"]) == 0
    output = capsys.readouterr().out
    for part, count in boxed.items():
        assert f"{part} ({part}): {count} images listed" in output
    assert f"{boxed['train']} images" in data("browse", tutorial, "--format", "csv", "-o", tmp_path / "d")
    assert priors([str(tutorial), "--format", "voc", "--num_images", "2"]) == 0
    assert priors([str(tutorial), "--format", "voc", "--fit", str(tmp_path / "fit.yaml")]) == 1
    assert "--fit" in capsys.readouterr().err
    assert "FORMAT" in data("browse", config_file, "--format", "csv", status=1)
    assert "--format" in data("convert", "voc_2007_test", *options, "--to", "csv", "--format", "csv", status=1)


def test_names_and_categories_as_exported(data: Run, tmp_path: Path) -> None:
    """Roboflow adds a category of the name of the class; YAML reads 007 as 7 and no as False."""
    categories = [{"id": 0, "name": "007", "supercategory": "none"}, {"id": 1, "name": "007", "supercategory": "007"}]
    objects = [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 20]}]
    images = [{"id": 0, "file_name": "a.png", "width": 40, "height": 30}]
    content = {"images": images, "annotations": objects, "categories": categories}
    (tmp_path / "set/train").mkdir(parents=True)
    (tmp_path / "set/train/_annotations.coco.json").write_text(json.dumps(content))
    cv2.imwrite(str(tmp_path / "set/train/a.png"), np.zeros((30, 40, 3), np.uint8))
    output = data("convert", tmp_path / "set", "-o", tmp_path / "yolo", "--to", "yolo")
    assert "only group others, left out: 007" in output
    assert "1 objects of 1 classes" in output
    for name in ("yolo", "yolo/written"):
        path = tmp_path / "yolo/data.yaml"
        path.write_text(path.read_text().replace("'007'", "007"))
        data("convert", tmp_path / "yolo", "-o", tmp_path / "coco", "--to", "coco")
        result = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
        assert [category["name"] for category in result["categories"]] == ["007"], name
        shutil.rmtree(tmp_path / "coco")
    path.write_text(path.read_text().replace("007", "no"))
    errors = data("convert", tmp_path / "yolo", "-o", tmp_path / "coco", "--to", "coco", status=1)
    assert re.search(r"data\.yaml: names: .*quotes", errors)


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """60 images in YOLO's layout, a third with a rare class, every sixth a smaller copy of the one before it."""
    root = tmp_path / "shapes"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("ball\nbox\n")
    for number in range(60):
        seed = number - (number % 6 == 5)
        noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        size = (40, 30) if seed != number else (80, 60)
        cv2.imwrite(str(root / f"images/{number:02d}.png"), cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))
        rows = "0 0.5 0.5 0.5 0.5\n" + "1 0.25 0.25 0.25 0.25\n" * (number % 3 == 0)
        (root / f"labels/{number:02d}.txt").write_text(rows)
    return root


def test_split_is_stratified_seeded_and_keeps_copies_together(data: Run, shapes: Path, tmp_path: Path) -> None:
    tests = []
    for number, seed in enumerate((0, 0, 1)):
        options = ("--to", "coco", "--link", "--parts", "train=0.75,test=0.25", "--seed", seed)
        output = data("split", shapes, "-o", tmp_path / str(number), *options)
        content = json.loads((tmp_path / f"{number}/annotations/instances_test.json").read_text())
        tests.append({int(Path(image["file_name"]).stem) for image in content["images"]})
    assert tests[0] == tests[1] != tests[2]
    assert sum(annotation["category_id"] == 2 for annotation in content["annotations"]) == 5
    assert all((copy in tests[2]) == (copy - 1 in tests[2]) for copy in range(5, 60, 6))
    assert "20 images in 10 group(s)" in output
    table = [line.split() for line in output.splitlines()]
    assert ["all", "45", "60", "15", "20"] in table  # images and objects in train and in test
    assert ["box", "15", "15", "5", "5"] in table


def test_written_config_trains_on_the_parts(data: Run, shapes: Path, tmp_path: Path) -> None:
    """The format stays; a class has no objects."""
    (shapes / "classes.txt").write_text("ball\nbox\ncone\n")
    own, parts = tmp_path / "configs/own.yaml", tmp_path / "parts"
    output = data("split", f"{write_config(tmp_path, shapes)}:shapes", "-o", parts, "--write-config", own)
    for fact in (f"ssd train {own}", f"{parts}: 60 images, yolo\n", "\nno object: cone\n"):
        assert fact in output
    assert (parts / "data.yaml").is_file()
    cfg = load_config(own)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("parts_train",), ("parts_test",))
    (train,), (test,) = (build_datasets(cfg, is_train=flag) for flag in (True, False))
    assert (len(train), len(test)) == (48, 12)
    assert cfg.MODEL.BACKBONE.NAME == "mobilenet_v2"
    data("split", shapes, "-o", tmp_path / "more", "--write-config", own, status=1)
    assert not (tmp_path / "more").exists()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Twelve photographs in three versions in the layout of Roboflow, divided without regard to them."""
    root = tmp_path / "export"
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        image = cv2.resize(noise, (80, 60), interpolation=cv2.INTER_CUBIC)
        for version, pixels in enumerate((image, image[:, ::-1], np.rot90(image))):
            part = "test" if (number + version) % 6 == 0 else "valid" if (number + version) % 6 == 1 else "train"
            for name in ("images", "labels"):
                (root / part / name).mkdir(parents=True, exist_ok=True)
            name = f"{number:02d}_jpg.rf.{100 * number + version}"
            cv2.imwrite(str(root / part / f"images/{name}.jpg"), cv2.resize(pixels, (64, 64)))
            (root / part / f"labels/{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    splits = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{splits}nc: 1\nnames: [ball]\n")
    return root


def test_a_division_is_kept_unless_asked(data: Run, export: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    output = data("split", export, "-o", tmp_path / "a", "--parts", "train=0.5,test=0.5", "--write-config", own)
    assert "is kept: train, val, test; --parts" in output
    cfg = load_config(own)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("a_train",), ("a_val",))
    for part, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        names = {Path(line).name for line in (tmp_path / f"a/{part}.txt").read_text().split()}
        assert names == {path.name for path in (export / folder / "images").iterdir()}


@pytest.mark.parametrize(("is_renamed", "options"), [(False, ["--near-duplicates", "off"]), (True, [])])
def test_versions_of_a_photograph_stay_together(data, export, tmp_path, is_renamed, options):
    """By their names alone, and by their pixels alone."""
    photographs = {path.stem: path.stem[:2] for path in export.glob("*/images/*")}
    if is_renamed:
        stems = sorted(photographs, key=lambda stem: stem[::-1])
        numbers = {stem: f"{number:02d}" for number, stem in enumerate(stems)}
        for path in [*export.glob("*/*/*.jpg"), *export.glob("*/*/*.txt")]:
            path.rename(path.with_stem(numbers[path.stem]))
        photographs = {numbers[stem]: photograph for stem, photograph in photographs.items()}
    output = data("split", export, "-o", tmp_path / "a", "--resplit", "--parts", "train=0.75,test=0.25", *options)
    assert "36 images in 12 group(s)" in output
    lists = [(tmp_path / f"a/{part}.txt").read_text().split() for part in ("train", "test")]
    parts = [{photographs[Path(line).stem] for line in lines} for lines in lists]
    assert (len(parts[0]), len(parts[1]), parts[0] & parts[1]) == (9, 3, set())


def test_frames_of_a_fixed_camera(data: Run, write_voc: Callable[..., Path], tmp_path: Path) -> None:
    """All of them are near duplicates; the message says how to divide them."""
    root = write_voc({f"cam_{number}": [("cat", (1, 1, 9, 9))] for number in range(10)})
    for number in range(10):
        frame = cv2.imread(str(root / "JPEGImages/cam_0.png"))
        frame[10:14, 3 * number : 3 * number + 4] = 255
        cv2.imwrite(str(root / f"JPEGImages/cam_{number}.png"), frame)
    message = data("split", root, "-o", tmp_path / "a", status=1)
    for fact in ("none for the part test", "10 images in 1 group(s)", "cam_1.png and 8 more", "--near-duplicates"):
        assert fact in message
    output = data("split", root, "-o", tmp_path / "a", "--near-duplicates", "off")
    assert ["all", "8", "8", "2", "2"] in [line.split() for line in output.splitlines()]
    with pytest.raises(SystemExit):
        main(["split", str(root), "-o", str(tmp_path / "b"), "--near-duplicates", "300"])


def write_config(folder: Path, root: Path) -> Path:
    datasets = {"CUSTOM": {"shapes": {"ROOT": str(root)}}, "TRAIN": ["shapes"]}
    content = {"DATASETS": datasets, "INPUT": {"IMAGE_SIZE": 64}, "SOLVER": {"BATCH_SIZE": 4}}
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    return folder / "own.yaml"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--base", "vgg_ssd300_voc0712"], "--base"),
        (["--write-config", "own.yml.txt"], "own.yml.txt"),
        (["--write-config", "own.yaml", "--base", "vgg_ssd300_voc712"], "vgg_ssd300_voc0712.yaml"),
        (["--parts", ",".join(f"part{number}=0.01" for number in range(100))], "part99"),
    ],
)
def test_mistakes_in_a_split(options, message, data, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in data("split", shapes, "-o", tmp_path / "parts", *options, status=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes"]


def test_browse_shows_pairs_and_is_seeded(data: Run, config_file: Path, tmp_path: Path) -> None:
    sheets = []
    for name, seed in (("a", 0), ("b", 0), ("c", 5)):
        output = data("browse", config_file, "SOLVER.SEED", seed, "-o", tmp_path / name, "--num", 3)
        sheets.append(cv2.imread(str(tmp_path / name / "browse_01.jpg")))
    assert "3 images" in output
    sheet, again, other = sheets
    assert sheet.shape[1] == 4 * 520 + 5 * 8
    assert sheet.shape[0] > 2 * 300
    np.testing.assert_array_equal(sheet, again)
    assert not np.array_equal(sheet, other)
    data("browse", config_file, "-o", tmp_path / "d", "--num", 100)
    assert len(list((tmp_path / "d").iterdir())) == 1  # all 8 images


def test_browse_draws_the_input_of_the_training(config_file: Path) -> None:
    cfg = load_config(config_file)
    (dataset,) = datasets = build_datasets(cfg, is_train=True)
    loader, transform = make_train_loader(cfg, datasets), make_batch_transform(cfg, is_train=True)
    expected = []
    for iteration, (images, targets, _) in zip(range(4), loader, strict=False):
        expected += list(to_pixels(transform(images, targets, iteration), cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    samples = list(augmented_samples(cfg, datasets))
    assert len(samples) == len(dataset)
    np.testing.assert_array_equal([sample.pixels for sample in samples], expected)
    with_label = [sample for sample in samples if 3 in dataset.get_annotation(sample.row)[1][1]]
    chosen = list(augmented_samples(cfg, datasets, [3]))
    assert [sample.row for sample in chosen] == [sample.row for sample in with_label] != []
    np.testing.assert_array_equal([sample.pixels for sample in chosen], [sample.pixels for sample in with_label])


def test_browse_shows_a_class(data: Run, shapes: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, shapes)
    assert "20 images" in data("browse", config, "-o", tmp_path / "a", "--show", "box", "--num", 30)
    assert len(list((tmp_path / "a").iterdir())) == 3
    assert "ball, box" in data("browse", config, "--show", "cat", status=1)
    assert "--num" in data("browse", config, "--num", 0, status=1)
    for path in (shapes / "labels").iterdir():
        path.write_text("0 0.5 0.5 0.5 0.5\n")
    assert "DATASETS.TRAIN ['shapes']" in data("browse", config, "--show", "box", status=1)
