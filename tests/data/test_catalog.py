import pytest

from ssd.data.catalog import DATASET_FORMATS, dataset_names, make_dataset, register_dataset
from ssd.data.datasets import COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import ConfigError, DatasetError


def test_names_of_the_catalogue() -> None:
    voc = {f"voc_{year}_{split}" for year in (2007, 2012) for split in ("train", "val", "trainval", "test")}
    coco = {"coco_2014_train", "coco_2014_val", "coco_2014_minival", "coco_2014_valminusminival"}
    assert set(dataset_names()) >= voc | coco | {"coco_2017_train", "coco_2017_val"}


@pytest.mark.parametrize(("year", "metric"), [("2007", "voc07"), ("2012", "voc")])
def test_official_voc_sets(write_voc, tmp_path, monkeypatch, year, metric) -> None:
    objects = [("Dog", (1, 1, 9, 9), 0), ("person", (1, 1, 9, 9), 1)]
    write_voc({"a": objects}, root=f"VOC{year}", split="trainval")
    monkeypatch.setenv("VOC_ROOT", str(tmp_path))
    training = make_dataset(f"voc_{year}_trainval", {}, is_train=True)
    testing = make_dataset(f"voc_{year}_trainval", {}, is_train=False)
    assert (training.class_names, training.metric) == (("__background__", *VOC_CLASSES), metric)
    assert [dataset[0][1]["labels"].tolist() for dataset in (training, testing)] == [[12], [12, 15]]


def one_image(*categories):
    """The content of a COCO file of one image, with an object of the first category."""
    annotation = {"image_id": 7, "category_id": categories[0]["id"], "bbox": [1, 2, 3, 4]}
    return {"images": [{"id": 7, "file_name": "7.png"}], "categories": categories, "annotations": [annotation]}


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [("coco_2017_val", "val2017", "instances_val2017"), ("coco_2014_minival", "val2014", "instances_minival2014")],
)
def test_official_coco_sets(write_coco, tmp_path, monkeypatch, name, folder, file) -> None:
    images, ann_file = write_coco(one_image({"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}))
    images.rename(tmp_path / folder)
    (tmp_path / "annotations").mkdir()
    ann_file.rename(tmp_path / "annotations" / f"{file}.json")
    monkeypatch.setenv("COCO_ROOT", str(tmp_path))
    dataset = make_dataset(name, {}, is_train=True)
    assert (dataset.class_names, dataset.metric) == (("__background__", *COCO_CLASSES), "coco")
    assert dataset[0][1]["labels"].tolist() == [80]


def test_a_missing_root_names_path_variable_and_what_is_there(tmp_path, monkeypatch) -> None:
    (tmp_path / "VOC2012").mkdir()
    monkeypatch.setenv("VOC_ROOT", str(tmp_path))
    with pytest.raises(DatasetError) as caught:
        make_dataset("voc_2007_test", {}, is_train=False)
    for fact in ("'voc_2007_test'", str(tmp_path / "VOC2007"), "VOC2012", "VOC_ROOT", repr(str(tmp_path))):
        assert fact in str(caught.value)


def test_an_unset_root_is_datasets(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COCO_ROOT", raising=False)
    with pytest.raises(DatasetError, match=r"datasets.train2017 .*COCO_ROOT.* not set"):
        make_dataset("coco_2017_train", {}, is_train=True)


def test_custom_sets(write_voc, write_coco) -> None:
    root = write_voc({"a": [("cat", (1, 1, 9, 9)), ("ant", (1, 1, 9, 9))]})
    images, ann_file = write_coco(one_image({"id": 4, "name": "cat"}))
    custom = {
        "plain": {"FORMAT": "voc", "ROOT": str(root), "SPLIT": "train"},
        "ordered": {"FORMAT": "voc", "ROOT": str(root), "SPLIT": "train", "CLASSES": ["cat", "ant"], "METRIC": "voc07"},
        "shop": {"FORMAT": "coco", "IMAGES": str(images), "ANNOTATIONS": str(ann_file), "METRIC": "voc"},
    }
    plain, ordered, shop = (make_dataset(name, custom, is_train=True) for name in custom)
    assert (plain.class_names, plain.metric) == (("__background__", "ant", "cat"), "voc")
    assert (ordered.class_names, ordered.metric) == (("__background__", "cat", "ant"), "voc07")
    assert ordered[0][1]["labels"].tolist() == [1, 2]
    assert (shop.class_names, shop.metric) == (("__background__", "cat"), "voc")
    followed = make_dataset("shop", custom, is_train=False, class_names=("__background__", "dog", "cat"))
    assert followed[0][1]["labels"].tolist() == [2]


VOC = {"FORMAT": "voc", "ROOT": "x", "SPLIT": "a"}


@pytest.mark.parametrize(
    ("name", "entry", "fact"),
    [
        ("voc_2007_tset", None, "'voc_2007_tset'.* voc_2007_test"),
        ("mine", {"SPLIT": "x"}, r"CUSTOM\.mine .*\(coco, csv, voc, yolo\).* ROOT"),
        ("mine", "{ROOT: x}", r"got '\{ROOT: x\}'.*\{'ROOT': \.\.\.\}"),
        ("mine", {"FORMAT": "vco"}, "'mine'.*'vco': did you mean 'voc'"),
        ("mine", {"FORMAT": "voc", "SPLIT": "x"}, "'mine'.* ROOT"),
        ("mine", {"FORMAT": "voc", "ROOT": "x", "SPLITS": "a"}, r"SPLITS; did you mean SPLIT\?"),
        ("mine", {"FORMAT": "coco", "root": "x"}, "root; .* IMAGES, ANNOTATIONS, CLASSES, METRIC"),
        ("mine", {**VOC, "ROOT": 3}, "'mine'.* ROOT .* 3"),
        ("mine", {**VOC, "SPLIT": False}, "SPLIT .* False; .*quotes"),
        ("mine", {"ROOT": ".", "SPLIT": 1.1}, "no dataset|SPLIT .* 1.1; .*quotes"),
        ("mine", {**VOC, "METRIC": "map"}, "METRIC .* voc07, voc, coco, got 'map'"),
        ("mine", {**VOC, "CLASSES": "cat"}, r"CLASSES .*\['cat'\]"),
        ("mine", {**VOC, "CLASSES": "[007]"}, r"CLASSES .*\['007'\]"),
        ("mine", {**VOC, "CLASSES": {"0": "cat"}}, "CLASSES .*list of names"),
        ("mine", {**VOC, "CLASSES": 7}, "CLASSES .*list of names, got 7"),
        ("mine", {**VOC, "CLASSES": ["a", False]}, "CLASSES.* False .*quotes"),
        ("mine", {**VOC, "CLASSES": ["a", "a"]}, "CLASSES.* a$"),
        ("mine", {**VOC, "CLASSES": [1]}, "CLASSES.* 1"),
        ("mine", {**VOC, "CLASSES": ["__background__", "a"]}, "CLASSES.*'__background__'"),
        ("voc_2007_test", {"FORMAT": "voc"}, r"CUSTOM\.voc_2007_test"),
    ],
)
def test_mistakes_in_entries(name, entry, fact) -> None:
    with pytest.raises(ConfigError, match=fact):
        make_dataset(name, {} if entry is None else {name: entry}, is_train=True)


def test_a_plug_in_adds_a_format_and_a_set(monkeypatch) -> None:
    monkeypatch.setitem(DATASET_FORMATS, "blank", lambda *, count, is_train, class_names: range(count))
    register_dataset("blank_train", {"FORMAT": "blank", "COUNT": 3})
    assert "blank_train" in dataset_names()
    assert len(make_dataset("blank_train", {}, is_train=True)) == 3
    assert len(make_dataset("more", {"more": {"FORMAT": "blank", "COUNT": 9}}, is_train=True)) == 9
    with pytest.raises(ConfigError, match=r"blank .*COUNT"):
        make_dataset("none", {"none": {"FORMAT": "blank"}}, is_train=True)
    for name in ("blank_train", "voc_2007_test"):
        with pytest.raises(ValueError, match=f"'{name}'"):
            register_dataset(name, {})


def test_a_folder_whose_format_is_not_found_is_named_with_its_set(tmp_path) -> None:
    with pytest.raises(ConfigError, match="'own'"):
        make_dataset("own", {"own": {"ROOT": str(tmp_path)}}, is_train=True)
