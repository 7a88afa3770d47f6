import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssd.config import load_config
from ssd.config.files import shipped_config
from ssd.modeling.detector import build_detection_model
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.errors import CheckpointError, DownloadError
from ssd.utils.model_zoo import cache_url, zoo_models

CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files``; a path ending in "broken" promises more bytes than come."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []

    def url(self, path: str, content: bytes = CONTENT) -> str:
        self.files[path] = content
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        content = self.server.files.get(self.path.partition("?")[0])
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) * (2 if self.path.endswith("broken") else 1)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_MODEL_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


def test_fetched_once_then_cached(server: Server, cache: Path) -> None:
    url = server.url("/release/1.2/weights.pth")
    assert cache_url(url) == cache / "weights.pth"
    assert (cache / "weights.pth").read_bytes() == CONTENT
    assert cache_url(url) == cache / "weights.pth"
    assert server.requests == ["/release/1.2/weights.pth"]
    assert [path.name for path in cache.iterdir()] == ["weights.pth"]
    assert cache_url(server.url("/model-2020.pth") + "?download=1") == cache / "model-2020.pth"  # no hash


def test_folder_follows_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.url("/a.pth")
    monkeypatch.delenv("TORCH_MODEL_ZOO", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert cache_url(url) == tmp_path / "torch" / "models" / "a.pth"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_url(url) == tmp_path / "home" / ".torch" / "models" / "a.pth"
    monkeypatch.setenv("TORCH_MODEL_ZOO", "~/zoo")
    assert cache_url(url) == tmp_path / "home" / "zoo" / "a.pth"


@pytest.mark.parametrize("digits", [6, 64])
def test_hash_in_the_name_is_checked(server: Server, cache: Path, digits: int) -> None:
    name = f"vgg-{SHA256[:digits]}.pth"
    path = cache_url(server.url(f"/{name}"))
    assert path == cache / name
    path.write_bytes(b"damaged since")
    assert cache_url(server.url(f"/{name}")).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_failed_downloads_leave_nothing(server: Server, cache: Path) -> None:
    cases = {
        server.url("/vgg-0123456789.pth"): SHA256,
        server.url("/a.pth").replace("a.pth", "b.pth"): r"404.*b\.pth",
        server.url("/c.pth") + "?broken": f"{len(CONTENT)} of {2 * len(CONTENT)} bytes",
    }
    with Server() as closed:
        cases[closed.url("/d.pth")] = "refused"
    for url, fact in cases.items():
        with pytest.raises(DownloadError, match=fact):
            cache_url(url)
        assert list(cache.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://127.0.0.1/folder/", "http://host:port/a.pth"])
def test_malformed_url(cache: Path, url: str) -> None:
    with pytest.raises(DownloadError, match=f"^{url}: "):
        cache_url(url)


def test_checkpoint_by_name(server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    model = next(iter(zoo_models().values()))._replace(name="here/a", file="a.pth", sha256="")
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(zoo_models(), "here/a", model._replace(url=server.url("/a.pth", content), sha256=digest))
    assert read_checkpoint("here/a")["model"]["a"].tolist() == [1, 1]
    monkeypatch.setitem(zoo_models(), "here/a", model._replace(url=server.url("/a.pth", content), sha256="0" * 64))
    with pytest.raises(DownloadError, match=digest):
        read_checkpoint("here/a")
    monkeypatch.setitem(zoo_models(), "here/a", model._replace(url="", file="b.pth"))
    with pytest.raises(DownloadError, match=str(cache / "b.pth")):
        read_checkpoint("here/a")
    (cache / "b.pth").write_bytes(content)
    assert read_checkpoint("here/a")["model"]["a"].tolist() == [1, 1]
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    torch.save({"a": torch.zeros(2)}, "here/a")  # a file of this name goes first
    assert read_checkpoint("here/a")["model"]["a"].tolist() == [0, 0]
    with pytest.raises(CheckpointError, match="mmdet/ssd512_coco"):
        read_checkpoint("mmdet/ssd512coco")


def test_models_of_the_zoo() -> None:
    files = [model.file for model in zoo_models().values()]
    assert len({*files}) == len(files) == len(zoo_models())
    for model in zoo_models().values():
        assert shipped_config(model.config).is_file()
        assert model.url.startswith("https://") or (not model.url and model.page.startswith("https://"))
        assert not model.url or model.url.rpartition("/")[2] == model.file
        assert all((model.network, model.size, model.data, model.source, model.licence, model.verified))
        assert len(model.sha256) in (0, 64)


@pytest.mark.parametrize("name", sorted(zoo_models()))
def test_parameters_and_operations(name: str) -> None:
    model = zoo_models()[name]
    sides = [int(side) for side in model.size.split("x")]
    size = (sides[0], sides[-1])
    overrides = ["MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", size]
    if name in ("tensorflow/ssd_mobilenet_v1_075_coco", "tensorflow/ssd_mobilenet_v1_quantized_coco"):
        overrides += ["MODEL.BACKBONE.WIDTH", 0.75]
    network = build_detection_model(load_config(model.config, overrides)).eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.predict(torch.empty(1, 3, *size, device="meta"))
    assert float(model.parameters) == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6, abs=0.005)
    assert float(model.gmac) == pytest.approx(counter.get_total_flops() / 2e9, abs=0.005)
