import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ssd.evaluation import analyse, evaluate
from ssd.tools.report import write_report
from ssd.tools.report.metric_sections import make_metrics_section
from tests.evaluation.sets import predicted, random_set
from tests.tools.report.sets import FACTS, HOSTILE, LEFT, PictureSet, evaluated, three_classes

VOID = {"meta", "link", "img", "source"}


class Page(HTMLParser):
    """Elements of a page: (tag, attributes, text directly inside) in order. Every tag must be closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data):
        if self._open:
            self.elements[self._open[-1]][2].append(data)

    def all(self, tag):
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]

    def rows(self, caption):
        """The cells of a table by the name of the row: numbers where they are, else texts."""
        inside, rows = False, {}
        for tag, attributes, text in self.elements:
            if tag == "table":
                inside = False
            elif tag == "caption":
                inside = "".join(text).startswith(caption)
            elif inside and tag == "th" and attributes["scope"] == "row":
                cells = rows.setdefault("".join(text), [])
            elif inside and tag == "td":
                key = attributes.get("data-value")
                cells.append("".join(text) if key is None else float(key) if key else None)
        return rows


def write_page(dataset, predictions, folder: Path) -> Page:
    return Page(write_report(evaluated(dataset, predictions, folder), FACTS, folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return write_page(*three_classes(), tmp_path_factory.mktemp("report"))


def test_the_figures_are_those_of_the_evaluation(page: Page, tmp_path: Path) -> None:
    values = evaluated(*three_classes(), tmp_path).result.values
    assert page.rows("Figures")["mAP"][0] == pytest.approx(values["mAP"], rel=1e-8)
    rows = page.rows("All classes")
    assert list(rows) == ["cat", "dog", HOSTILE]
    assert rows["cat"][:3] == [2, 3, pytest.approx(values["cat"], rel=1e-8)]
    assert rows["dog"][:3] == [2, 3, pytest.approx(values["dog"], rel=1e-8)]
    assert rows[HOSTILE] == [0, 1, *[None] * 5, *[None] * 5]


def test_errors_are_counted(page: Page) -> None:
    counts = {kind: cells[0] for kind, cells in page.rows("Errors by kind").items()}
    assert counts == {"class": 1, "localisation": 1, "both": 0, "duplicate": 1, "background": 1, "missed": 1}
    assert any("2 missed, 1 false alarm, 1 found" in text for _, text in page.all("figcaption"))
    items = [text for _, text in page.all("li")]
    assert "F1 dog 95%: is cat" in items
    assert "M1 cat: missed" in items


def test_the_page_opens_with_a_verdict_and_names_no_number_twice(page: Page) -> None:
    (verdict,) = [text for attributes, text in page.all("p") if attributes.get("class") == "verdict"]
    assert verdict.startswith("Finds 50 of 100 objects; 50 of 100 detections are wrong (score > 0.75).")
    assert "Weakest: dog, cat. Try: " in verdict
    tiles = [text for _, text in page.all("dt")][:6]
    assert tiles[:3] == ["mAP", "AP75", "F1 at score 0.75"]
    assert len(page.all("details")) == 8  # seven sections, configuration


def test_the_page_needs_nothing_else(page: Page) -> None:
    names = ("src", "srcset", "href")
    addresses = [attributes[name] for _, attributes, _ in page.elements for name in names if name in attributes]
    assert len(addresses) > 20
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert len(page.all("script")) == 1
    assert not {"iframe", "object", "embed", "form"} & {tag for tag, _, _ in page.elements}


def test_the_page_is_accessible(page: Page) -> None:
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"][1:] for attributes, _ in page.all("a")]
    assert len(links) == 8
    assert set(links) <= set(ids)
    for attributes, _ in page.all("img"):
        assert attributes["alt"]
        assert min(int(attributes["width"]), int(attributes["height"])) > 0
    assert all(attributes["scope"] in ("row", "col") for attributes, _ in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert {attributes["lang"] for attributes, _ in page.all("html")} == {"en"}
    assert len(page.all("source")) == len([1 for attributes, _ in page.all("img") if "svg" in attributes["src"][:20]])


def test_thresholds_can_be_copied(page: Page) -> None:
    texts = [text for attributes, text in page.all("pre") if attributes.get("class") == "copy"]
    assert float(texts[0].removeprefix("--threshold ")) == pytest.approx(0.75)


@pytest.mark.parametrize("case", ["no detections", "no objects"])
def test_datasets_at_the_edge(case: str, tmp_path: Path) -> None:
    dataset, predictions = three_classes()
    if case == "no detections":
        predictions = [predicted()] * 3
    else:
        dataset, predictions = PictureSet([[], []], ["cat"]), [predicted((LEFT, 1, 0.5)), predicted()]
    page = write_page(dataset, predictions, tmp_path)
    assert list(page.rows("All classes")) == list(dataset.class_names[1:])
    assert any("no object to find" in text for _, text in page.all("p"))
    assert not any("nan" in "".join(text).split() for _, _, text in page.elements)


def test_what_is_too_much_is_counted(tmp_path: Path) -> None:
    """More errors in an image than are listed, and more classes than the matrix shows."""
    names = [f"class {label}" for label in range(1, 23)]
    missed = [([300 + 9 * number, 300, 380 + 9 * number, 400], number + 4) for number in range(13)]
    dataset = PictureSet([[(LEFT, 1), *missed], [(LEFT, 2)], [(LEFT, 3)]], names)
    predictions = [predicted((LEFT, label, 0.95)) for label in (1, 2, 3)]
    page = write_page(dataset, predictions, tmp_path)
    texts = ["".join(text) for _, _, text in page.elements]
    assert any("20 of 22 classes: those confused most with others." in text for text in texts)
    assert [text for text in texts if text.startswith("and ")] == ["and 3 more"]
    assert [text.split()[0] for text in texts if text.endswith(": missed")] == [f"M{place}" for place in range(1, 11)]


def test_coco_has_two_columns_of_ap(tmp_path: Path) -> None:
    dataset, predictions = random_set(0, num_images=6)
    result, analysis = evaluate(dataset, predictions, tmp_path), analyse(dataset, predictions)
    rows = Page(make_metrics_section(result, analysis).content).rows("All classes")
    for label, name in enumerate(dataset.class_names[1:], start=1):
        assert rows[name][2:4] == pytest.approx([result.values[f"AP/{name}"], analysis.ap[label]])


def test_many_classes_stay_readable(tmp_path: Path) -> None:
    images = [[(LEFT, label)] for label in range(1, 29)]  # two classes have no object
    predictions = [predicted((LEFT, label if label < 8 else 9, 0.9)) for label in range(1, 29)]
    dataset = PictureSet(images, [f"class {label}" for label in range(1, 31)])
    page = write_page(dataset, predictions, tmp_path)
    assert len(page.rows("All classes")) == 30
    captions = [text for _, text in page.all("figcaption")]
    assert any("24 of 30 classes: the 12 best and the 12 worst" in text for text in captions)
    assert any("8 of 30 classes: the 4 best and the 4 worst" in text for text in captions)
    assert all(int(attributes["height"]) < 1000 for attributes, _ in page.all("img"))


def test_the_command_writes_a_report(script: Callable, trained: Path, tmp_path: Path) -> None:
    status, log, _ = script("test.py", "--config-file", trained, "--report")
    assert status == 0
    path = tmp_path / "out" / "inference" / "test_scenes" / "report.html"
    assert f"Report: {path}" in log
    text = path.read_text(encoding="utf-8")
    assert "3</dd>" in text  # iterations of the training
    assert "BACKBONE:" in text
    values = json.loads((path.parent / "metrics.json").read_text())["values"]
    assert Page(text).rows("Figures")["mAP"][0] == pytest.approx(values["mAP"], rel=1e-8)
