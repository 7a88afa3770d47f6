"""What a manifest tells of a training, and that nothing of it gets lost."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from ssd.config import Config, load_config
from ssd.data import build_datasets
from ssd.data.datasets import DetectionDataset, VOCDataset
from ssd.engine.manifest import digest_weights, fingerprint, finish_manifest, start_manifest
from tests.evaluation.sets import VOCSet


@pytest.fixture
def cfg(config_file: Path, tmp_path: Path) -> Config:
    (tmp_path / "out").mkdir()
    return load_config(config_file, ["SOLVER.SEED", 5])


def start(cfg: Config, model: nn.Module, sets: list[DetectionDataset], iteration: int = 0) -> None:
    arguments = {"log_step": 10, "skip_test": False, "config_file": "x.yaml", "opts": [], "local_rank": 0}
    start_manifest(cfg, arguments, sets, [], model, start_iteration=iteration)


def read_starts(path: Path) -> list[dict]:
    return json.loads(path.read_text())["starts"]


def test_a_start(cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "--config-file", "x.yaml"])
    sets, model = build_datasets(cfg, is_train=True), nn.Linear(2, 2)
    start(cfg, model, sets)
    (told,) = read_starts(tmp_path / "out" / "manifest.json")
    assert told["command"] == ["train.py", "--config-file", "x.yaml"]
    assert told["arguments"] == {"log_step": 10, "skip_test": False}
    assert (told["seed"], told["processes"], told["processes_of_a_machine"], told["start_iteration"]) == (5, 1, 1, 0)
    again = cfg.clone()
    again.defrost()
    again.merge_from_text(json.dumps(told["config"]), "manifest")  # JSON is YAML
    assert again.dump() == cfg.dump()
    assert told["datasets"] == {"train": {"train_scenes": fingerprint(sets[0])}, "test": {}}
    assert told["initial_weights"] == digest_weights(model)
    assert told["versions"]["torch"] == torch.__version__
    assert {"commit", "is_changed", "digest"} == set(told["code"])
    assert {"cpu", "gpu", "threads"} < set(told["machine"])
    assert told["date"].startswith("20")
    assert told["date"].endswith("+00:00")
    assert "result" not in told


def test_a_second_start_keeps_the_first(cfg: Config, tmp_path: Path) -> None:
    """The result, with the metrics of the evaluation, is that of the last; without a manifest there is none."""
    path, model = tmp_path / "out" / "manifest.json", nn.Linear(2, 2)
    finish_manifest(cfg.OUTPUT_DIR, model, ())
    assert list(path.parent.iterdir()) == []
    start(cfg, model, [])
    first = read_starts(path)
    start(cfg, model, [], iteration=4)
    folder = tmp_path / "out" / "inference" / "test_scenes"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"values": {"mAP": 0.5, "café": None}}))
    finish_manifest(cfg.OUTPUT_DIR, model, ["test_scenes"])
    starts = read_starts(path)
    assert starts[:1] == first
    assert starts[1]["start_iteration"] == 4
    assert starts[1]["result"]["weights"] == digest_weights(model)
    assert starts[1]["result"]["metrics"] == {"test_scenes": {"mAP": 0.5, "café": None}}
    assert sorted(path.name for path in path.parent.iterdir()) == ["inference", "manifest.json"]


BAD = ["{", "", "[]", "{}", '{"format": 1, "starts": [1]}', "[" * 100_000, "\ud800"]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_damaged_one_is_kept_aside(cfg: Config, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out" / "manifest.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    start(cfg, nn.Linear(2, 2), [])
    assert len(read_starts(path)) == 1
    assert (tmp_path / "out" / "manifest.damaged.json").read_bytes() == text.encode(errors="surrogatepass")
    assert "manifest.json" in caplog.text


class Net(nn.Module):
    """One of each kind of tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, dtype=torch.bfloat16), nn.BatchNorm2d(4)
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.zeros(0))


def test_the_digest_of_weights_is_of_their_bits_names_and_shapes() -> None:
    net, other = Net(), Net()
    expected = digest_weights(net)
    assert digest_weights(other) != expected
    other.load_state_dict(net.state_dict())
    assert digest_weights(other.to(memory_format=torch.channels_last)) == expected
    with torch.no_grad():
        other.norm.bias[0] = -0.0
    assert digest_weights(other) != expected
    pairs = [nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False), nn.Embedding(3, 2)]
    for module in pairs:
        nn.init.zeros_(module.weight)
    assert len({digest_weights(module) for module in (*pairs[:2], nn.Sequential(pairs[0]))}) == 3
    assert digest_weights(pairs[0]) == digest_weights(pairs[2])


IMAGES = {"a": [("dog", (5, 5, 20, 25)), ("cat", (1, 1, 9, 9), 1)], "b": []}


def test_counts_and_digest(write_voc, tmp_path: Path) -> None:
    """Neither the folder nor the use of the dataset changes them."""
    root = write_voc(IMAGES)
    found = fingerprint(VOCDataset(root, "train"))
    assert (found["num_images"], found["num_objects"], len(str(found["digest"]))) == (2, 2, 32)
    shutil.copytree(root, tmp_path / "copy")
    assert fingerprint(VOCDataset(tmp_path / "copy", "train", keep_difficult=True)) == found


CHANGES = {
    "a box": {**IMAGES, "a": [("dog", (5, 5, 20, 26)), ("cat", (1, 1, 9, 9), 1)]},
    "a class": {**IMAGES, "a": [("cat", (5, 5, 20, 25)), ("dog", (1, 1, 9, 9), 1)]},
    "a name of a class": {**IMAGES, "a": [("fox", (5, 5, 20, 25)), ("cat", (1, 1, 9, 9), 1)]},
    "difficult": {**IMAGES, "a": [("dog", (5, 5, 20, 25)), ("cat", (1, 1, 9, 9), 0)]},
    "an object more": {**IMAGES, "b": [("dog", (5, 5, 20, 25))]},
    "an image more": {**IMAGES, "c": []},
    "the order": dict(reversed(IMAGES.items())),
    "an id": {"a": IMAGES["a"], "x": []},
}


@pytest.mark.parametrize("images", CHANGES.values(), ids=list(CHANGES))
def test_a_change_shows(write_voc, images: dict) -> None:
    before = fingerprint(VOCDataset(write_voc(IMAGES, root="before"), "train"))
    assert fingerprint(VOCDataset(write_voc(images, root="after"), "train"))["digest"] != before["digest"]


def test_another_or_a_missing_file_shows(write_voc) -> None:
    root = write_voc(IMAGES)
    dataset, path = VOCDataset(root, "train"), root / "JPEGImages" / "b.png"
    digests = [fingerprint(dataset)["digest"]]
    path.write_bytes(path.read_bytes() + b"\0")
    digests.append(fingerprint(dataset)["digest"])
    path.unlink()
    assert fingerprint(dataset)["digest"] not in digests
    assert digests[0] != digests[1]


class FromElsewhere(VOCSet):
    """A set that tells no files."""

    def get_img_info(self, index: int):
        return {"width": 10, "height": 10}


def test_a_format_from_elsewhere() -> None:
    sets = [FromElsewhere([[([0, 0, 5, last], 1)]] * 3) for last in (5.0, 5.0, 6.0)]
    digests = [fingerprint(dataset)["digest"] for dataset in sets]
    assert digests[0] == digests[1] != digests[2]
