import json
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from ssd.commands.data_scenes import main
from ssd.tools.data.scenes import SceneObject, render_scene, write_scenes
from ssd.tools.data.scenes.render import annotate, place_shapes
from ssd.tools.data.scenes.shapes import PATTERNS, Layer, rasterise
from ssd.utils.errors import DatasetError

SIZE = (320, 240)
DEMO = Path(__file__).parents[3] / "demo"


def rectangle(name: str, left: int, top: int, right: int, bottom: int) -> Layer:
    """A layer that covers exactly the pixels of a corner-form box."""
    return Layer(name, left, top, np.full((bottom - top, right - left), 255, np.uint8))


def layers_of(number: int) -> list[Layer]:
    return place_shapes(np.random.default_rng((0, number, 0)), SIZE)


def test_rasterise_covers_whole_pixels_exactly_and_smooths_others() -> None:
    layer = rasterise("square", [np.array([[-10.0, -10], [10, -10], [10, 10], [-10, 10]])])
    rows, columns = np.nonzero(layer.mask)
    assert (layer.left + columns.min(), layer.left + columns.max()) == (-10, 9)
    assert (layer.top + rows.min(), layer.top + rows.max()) == (-10, 9)
    assert layer.mask.sum() == 400
    layer = rasterise("square", [np.array([[0.0, 0], [10.4, 0], [10.4, 10], [0, 10]])])
    assert 0 < layer.coverage[5 - layer.top, 10 - layer.left] == pytest.approx(0.4 * 255, abs=0.25 * 255)


def test_boxes_of_whole_hidden_and_truncated_shapes() -> None:
    below, above = rectangle("square", 40, 50, 100, 90), rectangle("circle", 40, 50, 60, 130)
    truncated, touching = rectangle("star", -10, 220, 40, 250), rectangle("star", 100, 210, 150, 240)
    assert annotate([below, above, truncated, rectangle("ring", 400, 300, 450, 350), touching], SIZE) == [
        SceneObject("square", (60, 50, 100, 90), is_truncated=False, is_difficult=False),
        SceneObject("circle", (40, 50, 60, 130), is_truncated=False, is_difficult=False),
        SceneObject("star", (0, 220, 40, 240), is_truncated=True, is_difficult=False),
        SceneObject("star", (100, 210, 150, 240), is_truncated=False, is_difficult=False),
    ]
    assert annotate([], SIZE) == []


@pytest.mark.parametrize(
    ("visible_columns", "difficult"), [(100, [False]), (50, [False]), (49, [True]), (10, [True]), (9, []), (0, [])]
)
def test_visibility_decides_on_difficult_and_hidden(visible_columns: int, difficult: list[bool]) -> None:
    below, above = rectangle("heart", 100, 50, 200, 150), rectangle("ring", 100 + visible_columns, 40, 260, 160)
    assert [found.is_difficult for found in annotate([below, above], SIZE) if found.name == "heart"] == difficult


def test_visibility_counts_pixels_outside_the_image_and_small_shapes_are_difficult() -> None:
    # Half is outside the image, and a fifth of the rest is covered: 40 % are visible.
    layers = [rectangle("cross", -50, 0, 50, 100), rectangle("ring", 40, 0, 100, 100)]
    assert annotate(layers, SIZE)[0] == SceneObject("cross", (0, 0, 40, 100), is_truncated=True, is_difficult=True)
    small, enough = rectangle("cross", 10, 10, 21, 60), rectangle("cross", 60, 10, 72, 60)
    assert [found.is_difficult for found in annotate([small, enough], SIZE)] == [True, False]


def test_boxes_equal_the_extents_of_painted_indices() -> None:
    """The oracle paints the index of each shape over those before it and looks for the rest."""
    num_boxes = 0
    for number in range(1, 81):
        layers = layers_of(number)
        indices = np.full((1240, 1320), -1)  # a margin of 500 pixels around the image
        for index, layer in enumerate(layers):
            rows, columns = np.nonzero(layer.mask)
            indices[rows + layer.top + 500, columns + layer.left + 500] = index
        expected = []
        for index, layer in enumerate(layers):
            rows, columns = np.nonzero(indices[500:740, 500:820] == index)
            if len(rows) >= 0.1 * layer.mask.sum():
                expected.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        assert [found.box for found in annotate(layers, SIZE)] == expected
        num_boxes += len(expected)
    assert num_boxes > 200


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_have_the_size_and_both_ends_of_the_range(name: str) -> None:
    for size in ((1, 1), (3, 40), (240, 320)):
        fields = [PATTERNS[name](np.random.default_rng(seed), size) for seed in range(20)]
        assert all(field.shape == size and field.dtype == np.float32 for field in fields)
    assert min(field.min() for field in fields) < 0.2
    assert max(field.max() for field in fields) > 0.8


def test_a_scene_is_a_function_of_seed_and_number() -> None:
    image, objects = render_scene(3, 7, SIZE)
    assert (image.shape, image.dtype) == ((240, 320, 3), np.uint8)
    np.testing.assert_array_equal(image, render_scene(3, 7, SIZE)[0])
    assert all(render_scene(seed, number, SIZE)[1] != objects for seed, number in ((4, 7), (3, 8)))


def test_annotations_of_format_1_do_not_change() -> None:
    """A change of the drawing needs another format number, so that old folders are not taken for new ones."""
    assert [(found.name, found.box, found.is_truncated) for found in annotate(layers_of(8), SIZE)] == [
        ("triangle", (193, 129, 218, 155), False),
        ("star", (53, 46, 104, 97), False),
        ("circle", (98, 71, 196, 181), False),
        ("crescent", (130, 14, 163, 56), False),
        ("crescent", (20, 104, 107, 188), False),
    ]


def write_small(root: Path, **changes: int) -> None:
    parameters = {"num_train": 4, "num_test": 2, "seed": 0} | changes
    write_scenes(root, image_size=(160, 120), **parameters)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_voc_layout(tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    write_small(root)
    splits = {name: (root / "ImageSets/Main" / f"{name}.txt").read_text().split() for name in ("trainval", "test")}
    assert splits == {"trainval": ["000001", "000002", "000003", "000004"], "test": ["500001", "500002"]}
    ids = splits["trainval"] + splits["test"]
    assert sorted(path.stem for path in (root / "JPEGImages").glob("*.jpg")) == ids
    assert sorted(path.stem for path in (root / "Annotations").glob("*.xml")) == ids
    for image_id in ids:
        annotation = ElementTree.parse(root / "Annotations" / f"{image_id}.xml").getroot()
        stored = cv2.imread(str(root / "JPEGImages" / annotation.findtext("filename")))
        size = [int(annotation.findtext(f"size/{field}")) for field in ("height", "width", "depth")]
        assert size == list(stored.shape) == [120, 160, 3]
        image, objects = render_scene(0, int(image_id), (160, 120))
        assert [read_object(element) for element in annotation.iter("object")] == objects
        smooth, expected = (cv2.blur(picture, (9, 9)).astype(int) for picture in (stored[..., ::-1], image))
        assert np.abs(smooth - expected).mean() < 2  # but for the noise


def read_object(element: ElementTree.Element) -> SceneObject:
    xmin, ymin, xmax, ymax = (int(element.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax"))
    flags = {f"is_{name}": {"0": False, "1": True}[element.findtext(name)] for name in ("truncated", "difficult")}
    return SceneObject(element.findtext("name"), (xmin - 1, ymin - 1, xmax, ymax), **flags)


def test_scenes_do_not_depend_on_their_number_and_a_complete_set_is_kept(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    write_small(few, num_train=2, num_test=1)
    write_small(many, num_train=3, num_test=2)
    kept = {name: data for name, data in contents(few).items() if name.startswith(("JPEGImages", "Annotations"))}
    assert len(kept) == 6
    assert kept.items() <= contents(many).items()
    (few / "JPEGImages/000001.jpg").write_bytes(b"mine")
    write_small(few, num_train=2, num_test=1)
    assert (few / "JPEGImages/000001.jpg").read_bytes() == b"mine"


def test_an_interrupted_set_is_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_small(whole)
    two = [render_scene(0, number, (160, 120)) for number in (1, 2)]
    with monkeypatch.context() as patch:
        render = Mock(side_effect=[*two, KeyboardInterrupt])
        patch.setattr("ssd.tools.data.scenes.scene_files.render_scene", render)
        with pytest.raises(KeyboardInterrupt):
            write_small(broken)
    assert len(list((broken / "JPEGImages").iterdir())) == 2
    assert not list((broken / "ImageSets/Main").iterdir())
    write_small(broken)
    assert contents(broken) == contents(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, '"seed": 1'),
        ({"num_train": 5}, '"train": 5'),
        ({"num_test": 3}, '"test": 3'),
        ({"num_train": 0}, "not 0, 2"),
        ({"num_test": 100_000}, "not 4, 100000"),
        ({"seed": -1}, "-1"),
    ],
)
def test_other_and_wrong_parameters_are_refused(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    write_small(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match=message):
        write_small(tmp_path, **changes)
    assert contents(tmp_path) == before


def test_foreign_folders_and_damaged_records_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    for path in (tmp_path, tmp_path / "photo.jpg"):
        with pytest.raises(DatasetError, match=path.name):
            write_small(path)
    (tmp_path / "scenes.json").write_text('{"seed": ')
    with pytest.raises(DatasetError, match=r"scenes\.json"):
        write_small(tmp_path)
    assert sorted(contents(tmp_path)) == ["photo.jpg", "scenes.json"]


def test_command_line_writes_the_dataset_or_explains_a_mistake(tmp_path: Path, capsys) -> None:
    folder = ["--output", str(tmp_path / "scenes")]
    main([*folder, "--train", "2", "--test", "1", "--size", "96x64", "--seed", "5"])
    parameters = json.loads((tmp_path / "scenes/scenes.json").read_text())
    assert parameters == {"format": 1, "seed": 5, "train": 2, "test": 1, "size": [96, 64]}
    assert cv2.imread(str(tmp_path / "scenes/JPEGImages/500001.jpg")).shape == (64, 96, 3)
    for flag, value in (("--size", "32x320"), ("--seed", "-1")):
        assert (main([*folder, flag, value]), value in capsys.readouterr().err) == (1, True)
    with pytest.raises(SystemExit):
        main([*folder, "--size", "320"])
    assert "320" in capsys.readouterr().err


def test_command_line_writes_the_samples_of_the_repository(tmp_path: Path) -> None:
    main(["--demo", str(tmp_path), "--seed", "140"])
    assert sorted(contents(tmp_path)) == [f"scene_{index}.jpg" for index in range(1, 7)]
    for path in tmp_path.iterdir():
        made, stored = (cv2.imread(str(folder / path.name)).astype(int) for folder in (tmp_path, DEMO))
        assert made.shape == (240, 320, 3)
        assert np.abs(made - stored).mean() < 2  # JPEG coders differ a little
        assert (DEMO / path.name).stat().st_size < 80_000
