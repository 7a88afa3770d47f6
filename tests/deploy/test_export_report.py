"""The report of an export, as text and as JSON."""

import json
import math

from ssd.deploy.export_report import Accuracy, AgreementCheck, ExportReport, format_latency, format_report, to_json
from ssd.deploy.latency import Latency
from ssd.deploy.parity import ImageParity, ParityCheck

MACHINE: dict[str, str | int] = {"cpu": "Some CPU", "cores": 2}


def image(name: str, num_missing: int = 0, num_extra: int = 0) -> ImageParity:
    counts = {"num_detections": 20, "num_matched": 20 - num_missing, "num_missing": num_missing, "num_extra": num_extra}
    top_score = 0.25 if num_missing + num_extra else 0.0
    return ImageParity(name, **counts, box_difference=0.00012, score_difference=3e-7, top_score=top_score)


def make_report(*images: ImageParity) -> ExportReport:
    check = ParityCheck("model.onnx in ONNX Runtime", 5, list(images))
    return ExportReport({"model.onnx": 4_630_000}, MACHINE, parity=[check])


def test_the_same_result() -> None:
    report = make_report(image("a"), image("b"))
    assert report.is_same
    size, _, parity = format_report(report).splitlines()
    assert size == "model.onnx: 4.63 MB"
    assert parity.startswith("model.onnx in ONNX Runtime compared with PyTorch, batches of 5: 40 of 40 detections in ")
    assert "0.00012 pixels and 3e-07" in parity
    assert to_json(report)["is_same"]
    entry = to_json(report)["parity"][0]
    assert (entry["name"], entry["batch_size"]) == ("model.onnx in ONNX Runtime", 5)
    assert (entry["num_detections"], entry["different"]) == (40, [])
    assert entry["images"][1]["name"] == "b"


def test_another_result() -> None:
    report = make_report(image("a"), image("street.jpg", num_missing=2, num_extra=1))
    assert not report.is_same
    line = format_report(report).splitlines()[-1]
    assert ("street.jpg: 2 of 20 detections missing, 1 others" in line, "0.250" in line) == (True, True)
    assert to_json(report)["parity"][0]["different"] == ["street.jpg"]


def test_accuracy_agreement_and_notes() -> None:
    report = ExportReport({}, MACHINE, notes=["parity: no images"])
    report.agreement += [AgreementCheck("model.int8.onnx", 10, 0.9692), AgreementCheck("untrained", 3, math.nan)]
    for name, cells, shop in (("PyTorch", 0.84931, 0.31), ("model.onnx", 0.84926, math.nan)):
        report.accuracy += [Accuracy(name, "cells_test", "voc", cells), Accuracy(name, "shop", "coco", shop)]
    text = format_report(report)
    assert "model.int8.onnx agrees with PyTorch in 96.9%" in text
    assert "untrained compared with PyTorch: nothing" in text
    assert "mAP on cells_test (voc): PyTorch 0.8493, model.onnx 0.8493" in text
    assert "AP on shop (coco): PyTorch 0.3100, model.onnx nan" in text
    assert "parity: no images" in text
    document = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert [row["value"] for row in document["accuracy"]] == [0.84931, 0.31, 0.84926, None]
    assert document["notes"] == ["parity: no images"]


def test_latency() -> None:
    note = "openvino cannot be imported"
    rows = []
    for threads, torch, int8 in ((1, 10.0, 2.504), (2, 6.0, 9.0)):
        rows += [Latency("PyTorch, as trained", threads, torch), Latency("OpenVINO", threads, note=note)]
        rows.append(Latency("int8", threads, int8))
    lines = format_latency(rows, MACHINE)
    assert "2 core(s) of Some CPU" in lines[1]
    assert [" ".join(line.split()) for line in lines[2:6]] == [
        "1 thread 2 threads",
        "PyTorch, as trained 10.00 (1.00 x) 6.00 (1.00 x)",
        "OpenVINO - -",
        "int8 2.50 (3.99 x) 9.00 (0.67 x)",
    ]
    assert [line for line in lines[6:] if note in line] == lines[6:]
    assert lines[3].index("10.00 (") + len("10.00") == lines[5].index("2.50 (") + len("2.50")  # aligned
    assert format_latency([], MACHINE) == []
