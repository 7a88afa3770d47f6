"""The page of `ssd demo --web`: its callbacks, and all of it where Gradio and Chromium are installed (slow)."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssd.inference.api import init_detector
from ssd.inference.web import COLUMNS, Callbacks, serve
from ssd.utils.errors import MissingPackageError
from ssd.utils.image import write_image
from tests.inference.samples import make_detections

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class FakeGradio:
    """The two names that the callbacks take from Gradio."""

    class Error(Exception):
        def __init__(self, message: str, **_: object):
            super().__init__(message)

    @staticmethod
    def DownloadButton(**options: Any) -> dict[str, Any]:  # noqa: N802
        return options


def test_a_selection_is_the_same_in_picture_table_and_json(tmp_path: Path) -> None:
    objects = [([1, 2, 30.26, 40], 1, 0.9), ([5, 5, 20, 20], 2, 0.6), ([0, 0, 9, 9], 1, 0.2)]
    found = make_detections(objects, orig_size=(48, 64), pixels=np.zeros((64, 48, 3), dtype=np.uint8))
    callbacks = Callbacks(FakeGradio, None, tmp_path)
    drawn, rows, summary, button = callbacks.show(found, 0.5, [])
    assert rows == [["cat", "0.900", "1", "2", "30", "40"], ["dog", "0.600", "5", "5", "20", "20"]]
    assert len(rows[0]) == len(COLUMNS)
    assert summary.startswith("2 objects in 48 x 64 pixels; 1 more")
    assert (drawn != 0).any()
    assert json.loads(Path(button["value"]).read_text()) == json.loads(found[:2].to_json())
    assert [row[0] for row in callbacks.show(found, 0.0, ["dog"])[1]] == ["dog"]
    drawn, rows, *_ = callbacks.show(found, 1.0, [])
    assert rows == []
    assert not drawn.any()


def test_callbacks(detector_file: Path, tmp_path: Path) -> None:
    """All detections are kept for the threshold; folders of uploads are not shown."""
    predictor = init_detector(detector_file, device="cpu")
    callbacks = Callbacks(FakeGradio, predictor, tmp_path)
    path = tmp_path / "noise.png"
    write_image(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8), path)
    found, drawn, rows, summary, button = callbacks.detect(str(path), 0.8, [])
    (expected,) = predictor.predict(path, score_threshold=0.0)
    assert len(found) == len(expected) > len(rows) > 0
    assert (found.name, found.path) == ("noise.png", None)
    assert drawn.shape == (60, 80, 3)
    assert summary.startswith(f"{len(rows)} object")
    assert Path(button["value"]).name == "noise.json"
    assert len(json.loads(Path(button["value"]).read_text())["objects"]) == len(rows)
    assert len(callbacks.show(found, 0.0, [])[1]) == len(found)
    assert callbacks.detect(None, 0.5, [])[:4] == [None, None, [], ""]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(FakeGradio.Error, match=r"^broken\.jpg: "):
        callbacks.detect(str(tmp_path / "broken.jpg"), 0.5, [])


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, detector_file: Path) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingPackageError, match=r"web"):
        serve(init_detector(detector_file, device="cpu"), score_threshold=0.5, host="127.0.0.1", port=0)


@pytest.fixture
def page_url(detector_file: Path) -> Iterator[str]:
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "demo.py", "--ckpt", str(detector_file), "--web", "--port", str(port)]
    process = subprocess.Popen([*command, "--score_threshold", "0.3"], cwd=ROOT)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            assert process.poll() is None, "the server has ended"
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser(page_url: str, tmp_path: Path) -> None:
    """Drop an image, move the threshold, download; nothing is asked of another machine."""
    api = pytest.importorskip("playwright.sync_api")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        requests: list[str] = []
        errors: list[Any] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(page_url)
        upload = page.locator("#image input[type=file]")
        upload.set_input_files(ROOT / "demo" / "scene_1.jpg")
        page.wait_for_selector("#drawn img")
        page.wait_for_function("document.querySelector('#summary').innerText.includes('pixels')")
        threshold = page.locator("#threshold input[type=number]")
        for value, expected in (("1", "0 objects"), ("0", "[1-9]")):
            threshold.fill(value)
            threshold.press("Enter")
            page.wait_for_function(f"/^{expected}/.test(document.querySelector('#summary').innerText)")
        total = int(page.inner_text("#summary").split()[0])
        page.wait_for_timeout(500)
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "scene_1.json"
        assert len(json.loads(Path(download.value.path()).read_text())["objects"]) == total
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("[...document.querySelectorAll('#drawn img')].every(image => image.naturalWidth > 0)")
        page.goto(page_url)
        page.locator("#samples img").first.click()
        page.wait_for_function("document.querySelector('#summary').innerText.includes('pixels')")
        page.goto(page_url)
        upload.set_input_files(tmp_path / "broken.jpg")
        page.wait_for_selector("text=broken.jpg: not an image")
        browser.close()
    assert not errors
    assert not [url for url in requests if not url.startswith((page_url, "data:", "blob:"))]
