import pickle
from pathlib import Path

import numpy as np
import pytest

from ssd.data.catalog import make_dataset
from ssd.data.datasets import CSVDataset
from ssd.data.datasets.csv_table import find_columns
from ssd.data.datasets.policy import RAISE_ERRORS, SkipErrors
from ssd.utils.errors import DatasetError
from tests.data.datasets.one_image import write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png and sub/b.png of 40 x 30 pixels."""
    return write_files(tmp_path, {"a.png": "", "sub/b.png": ""})


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "boxes.csv"
    path.write_bytes(text.encode(encoding))
    return path


TABLES = {
    "tensorflow": "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    "a.png,40,30,cat,1,2,11,12\na.png,40,30,dog,3,4,5,6\n",
    "retinanet": "a.png,1,2,11,12,cat\na.png,3,4,5,6,dog\n",
    "upper case, tabs": "Image Path\tX_Min\tY-Min\tXMax\tYMax\tLabel\n"
    "a.png\t1\t2\t11\t12\tcat\na.png\t3\t4\t5\t6\tdog\n",
    "semicolons": "label;file;x1;x2;y1;y2;note\ncat;a.png;1;11;2;12;x\ndog;a.png;3;5;4;6;\n",
    "windows": '\ufefffilename,class,xmin,ymin,xmax,ymax\r\n"a.png","cat",1,2,11,12\r\n\r\na.png,dog,3.0,4e0,5,6\r\n',
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_columns_are_found_by_their_names(folder: Path, text: str) -> None:
    dataset = CSVDataset(write(folder, text))
    assert dataset.class_names == ("__background__", "cat", "dog")
    image_id, (boxes, labels) = dataset.get_annotation(0)
    assert (len(dataset), dataset.num_listed, image_id) == (1, 1, "a.png")
    assert (boxes.tolist(), labels.tolist()) == ([[1, 2, 11, 12], [3, 4, 5, 6]], [1, 2])
    assert (boxes.dtype, labels.dtype) == (np.float32, np.int64)
    assert dataset.get_img_info(0) == {"height": 30, "width": 40}
    assert dataset[0][0].shape == (30, 40, 3)


def test_what_is_no_table_of_boxes() -> None:
    for line in ("", "a,b,c", "name,id", "filename,class,xmin,ymin,xmax", "a.png,1,2,x,4,cat", ",1,2,3,4,cat"):
        assert find_columns(line) is None, line
    assert not find_columns("a.png,,,,,").has_header


@pytest.mark.parametrize("name", ["sub/b.png", "sub\\b.png"])
def test_images_without_objects_are_kept(folder: Path, name: str) -> None:
    dataset = CSVDataset(write(folder, f"a.png,,,,,\n{name},1,2,11,12,cat\n"))
    assert len(dataset.ids) == 2
    assert dataset.get_annotation(0)[1][0].shape == (0, 4)
    assert dataset.image_path(1) == folder / "sub/b.png"


def test_open_images(folder: Path) -> None:
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    rows = "a,xclick,/m/01yrx,1,0.25,0.5,0.1,0.2,0,0,0\na,xclick,/m/01yrx,1,0,1,0,1,0,0,1\n"
    dataset = CSVDataset(write(folder, header + rows))
    np.testing.assert_allclose(dataset.get_annotation(0)[1][0], [[10, 3, 20, 6]])  # the group is no object


MISTAKES = {
    "a.png,1,2,x,4,cat": "x2 is 'x'",
    "a.png,1,nan,3,4,cat": "y1 is 'nan'",
    "a.png,1,2,3,1e999,cat": "y2 is '1e999'",
    "a.png,1,2": "3 columns, 6",
    "a.png,1,2,3,4,": "class is empty",
    "a.png,1,2,3,4,__background__": "class is __background__",
    ",1,2,3,4,cat": "file name is empty",
    "../../etc/passwd,1,2,3,4,cat": "'../../etc/passwd' is no file inside",
    "a\0b,1,2,3,4,cat": "",
}


@pytest.mark.parametrize(("row", "fact"), MISTAKES.items())
def test_mistakes_are_raised_or_skipped(folder: Path, row: str, fact: str) -> None:
    path = write(folder, f"file,x1,y1,x2,y2,class\n{row}\na.png,1,2,3,4,cat\n")
    with pytest.raises(DatasetError) as caught:
        CSVDataset(path)
    assert caught.value.field == "row 2"
    assert fact in str(caught.value)
    policy = SkipErrors()
    dataset = CSVDataset(path, policy=policy)
    assert (policy.count, dataset.ids) == (1, ["a.png"])
    assert len(dataset.get_annotation(0)[1][0]) == 1


def test_contradicting_sizes_and_unknown_classes(folder: Path) -> None:
    header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    with pytest.raises(DatasetError, match=r"sizes: \[\(30, 40\), \(40, 30\)\]"):
        CSVDataset(write(folder, header + "a.png,40,30,cat,1,2,3,4\na.png,30,40,cat,1,2,3,4\n"))
    with pytest.raises(DatasetError, match=r"row 2: unknown class 'cta'; did you mean 'cat'"):
        CSVDataset(write(folder, header + "a.png,40,30,cta,1,2,3,4\n"), class_names=("__background__", "cat"))
    with pytest.raises(DatasetError, match="99 x 30"):
        CSVDataset(write(folder, header + "a.png,99,30,cat,1,2,3,4\n"))[0]


@pytest.mark.parametrize(
    ("text", "encoding", "fact"),
    [
        ("a,b\n", "utf-8", "row 1: .*columns.* 'a,b'"),
        ("", "utf-8", "row 1: .*nothing"),
        ("filename,class\n\xfc", "latin-1", ".*UTF-8"),
        ("file,x1,y1,x2,y2,class\n", "utf-8", ".*no row"),
        ('"' + "x" * 200_000, "utf-8", "row 1: .*xx"),
        ('a.png,1,2,3,4,cat\n"' + "x" * 200_000, "utf-8", "row 2: no CSV"),
    ],
    ids=["columns", "empty", "encoding", "no rows", "long header", "long cell"],
)
def test_unreadable_tables(folder: Path, text: str, encoding: str, fact: str) -> None:
    with pytest.raises(DatasetError, match=rf"boxes\.csv: {fact}") as caught:
        CSVDataset(write(folder, text, encoding))
    assert len(str(caught.value)) < 600


def test_no_image_is_left(folder: Path) -> None:
    fact = r"boxes\.csv: none of 2 images .* 2 annotations without image .*'c.png'"
    for policy in (SkipErrors(), RAISE_ERRORS):
        with pytest.raises(DatasetError, match=fact):
            CSVDataset(write(folder, "c.png,1,2,3,4,cat\nd.png,1,2,3,4,cat\n"), policy=policy)


def test_the_entry_of_a_config(folder: Path) -> None:
    images = folder / "images"
    images.mkdir()
    (folder / "a.png").rename(images / "a.png")
    entry = {"FORMAT": "csv", "ANNOTATIONS": str(write(folder, "a.png,1,2,3,4,cat\n")), "IMAGES": str(images)}
    dataset = make_dataset("mine", {"mine": {**entry, "CLASSES": ["dog", "cat"]}}, is_train=True)
    assert dataset.class_names == ("__background__", "dog", "cat")
    assert dataset[0][1]["labels"].tolist() == [2]
    assert pickle.loads(pickle.dumps(dataset))[0][1]["boxes"].tolist() == [[1, 2, 3, 4]]
