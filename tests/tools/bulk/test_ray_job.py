"""`ssd predict --ray` on a cluster of two nodes on the loopback; each has a core and shares the output folder."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ssd
from ssd.commands.predict import main
from ssd.tools.bulk.ray_job import check_reachable, choose_workers
from ssd.utils.errors import DeviceError

ROOT = Path(__file__).parents[3]
NAMES = ("a b.jpg", "b.JPG", "bad.png", "d#1%20.jpg", "e[1].jpeg", "ä日.jpg")  # in the order of a listing
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
ENVIRONMENT = {
    **{**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
    **{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},  # else Ray writes one into the home folder
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
SCRIPT = "import sys; from ssd.commands.predict import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster, which is gone afterwards."""
    pytest.importorskip("ray.data")
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus", "1"]
    command += ["--disable-usage-stats", "--object-store-memory", "100000000"]
    with socket.socket() as listener:
        listener.bind((HEAD, 0))
        port = listener.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray")  # of its own: paths of Ray's sockets must be short
    head = ["--head", "--node-ip-address", HEAD, "--port", str(port)]
    head += ["--include-dashboard", "false", "--temp-dir", folder]
    nodes = []
    try:
        with open(Path(folder, "output.txt"), "w") as output:
            for options in (head, ["--address", f"{HEAD}:{port}", "--node-ip-address", SECOND]):
                nodes.append(subprocess.Popen([*command, *options], env=ENVIRONMENT, stdout=output, stderr=output))
                wait_for_nodes(nodes, Path(folder, "output.txt"))
        yield f"{HEAD}:{port}"
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait(timeout=60)
        found = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True)
        shutil.rmtree(folder)
    assert found.stdout == "", "processes of the cluster are left"


def wait_for_nodes(nodes: list[subprocess.Popen[bytes]], output: Path) -> None:
    deadline = time.monotonic() + 60
    while output.read_text().count("Ray runtime started") < len(nodes):
        assert nodes[-1].poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)


def predict_on(address: str, *args: object) -> tuple[int, str]:
    """Run the command in a process of its own, on a cluster; return its exit status and what it says."""
    run = subprocess.run(command_on(address, *args), env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    return run.returncode, run.stdout + run.stderr


def command_on(address: str, *args: object) -> list[str]:
    words = ["--ray", "--address", address, "--ckpt", "model.pth", "--part_size", 2, *args]
    return [sys.executable, "-c", SCRIPT, *map(str, words)]


@pytest.mark.slow
def test_a_cluster_finds_what_the_api_finds(cluster: str, pictures: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    status, said = predict_on(cluster, pictures, "--output", "found", "--score_threshold", 0.3)
    assert status == 1, said
    assert "2 detectors on cores of a Ray cluster" in said
    assert "6 images, 1 failed" in said
    rows = parquet.read_table("found").to_pylist()
    assert [row["file"] for row in rows] == [f"{pictures}/{name}" for name in NAMES]
    assert [row["file"] for row in rows if row["error"]] == [f"{pictures}/bad.png"]
    detector = ssd.init_detector("model.pth", device="cpu")
    expected = detector.predict(pictures, batch_size=2, score_threshold=0.3, on_error=lambda error: None)
    assert sum(map(len, expected)) > 0
    for row, result in zip([row for row in rows if not row["error"]], expected, strict=True):
        assert (row["width"], row["height"], row["names"]) == (*result.orig_size, result.names)
        assert row["labels"] == result.labels.tolist()
        # Batches, and threads, may be others than here: the same up to rounding.
        torch.testing.assert_close(torch.tensor(row["boxes"]), torch.from_numpy(result.boxes), rtol=0, atol=1e-3)
        torch.testing.assert_close(torch.tensor(row["scores"]), torch.from_numpy(result.scores), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_cluster_continues_what_a_process_began(cluster: str, pictures: Path) -> None:
    """In the very format of that, and bit for bit; names that are no Unicode come through."""
    shutil.copy(pictures / "b.JPG", pictures / os.fsdecode(b"caf\xe9.jpg"))
    args = [str(pictures), "--format", "jsonl"]
    main(["--ckpt", "model.pth", "--part_size", "2", *args, "--output", "alone"])
    shutil.copytree("alone", "found")
    for part in ("part-00000.jsonl", "part-00001.jsonl", "_job/part-00003.json"):
        Path("found", part).unlink()
    status, said = predict_on(cluster, *args, "--output", "found", "--actors", 1)
    assert status == 1, said
    assert "7 images in 4 parts, 3 of them to do" in said
    assert "1 detectors on cores" in said
    for part in Path("alone").glob("part-*"):
        assert Path("found", part.name).read_bytes() == part.read_bytes()
    line = Path("found/part-00001.jsonl").read_text().splitlines()[1]
    assert os.fsencode(json.loads(line)["path"]).endswith(b"\xe9.jpg")
    assert "parts, 0 of them to do" in predict_on(cluster, *args, "--output", "found", "--actors", 1)[1]


@pytest.mark.slow
def test_errors_of_a_detector_on_a_cluster(cluster: str, pictures: Path) -> None:
    status, said = predict_on(cluster, pictures, "--output", "found", "--tile", 5)
    assert status == 1
    assert re.search(r"error: tile.* 5\n", said)
    assert "Traceback" not in said
    status, said = predict_on(cluster, pictures, "--output", "found", "--opts", "MODEL.DEVICE", "cuda")
    assert (status, "error: device 'cuda': the Ray cluster has no GPU" in said) == (1, True)


@pytest.mark.slow
def test_a_signal_ends_it_when_the_next_part_is_done(cluster: str, pictures: Path) -> None:
    for number in range(400):
        os.link(pictures / "b.JPG", pictures / f"x{number:03d}.jpg")
    command = command_on(cluster, pictures, "--output", "found")
    run = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while run.poll() is None and len(list(Path("found").glob("part-*"))) < 3:
        time.sleep(0.01)
    run.terminate()
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 143, said
    assert re.search(r"Stopped; \d+ of 203 parts are done", said)
    assert 3 <= len(list(Path("found").glob("part-*"))) < 203


@pytest.mark.parametrize(
    ("device", "resources", "wanted", "expected"),
    [
        ("auto", {"CPU": 6.0}, None, ("cpu", 6)),
        ("auto", {"CPU": 6.0, "GPU": 2.0}, None, ("cuda", 2)),
        ("cuda", {"CPU": 6.0, "GPU": 2.0}, 1, ("cuda", 1)),
        ("cpu", {"CPU": 6.0, "GPU": 2.0}, None, ("cpu", 6)),
        ("auto", {"CPU": 6.0}, 3, ("cpu", 3)),
        ("cpu", {}, None, ("cpu", 1)),
    ],
)
def test_the_detectors_of_a_cluster(device: str, resources: dict[str, float], wanted: int | None, expected) -> None:
    assert choose_workers(device, resources, wanted) == expected


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_devices_that_a_cluster_lacks(device: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{device}'"):
        choose_workers(device, {"CPU": 1.0}, None)


def test_an_address_that_does_not_answer(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray.data")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        args = ["--ray", "--address", address, "--ckpt", "model.pth", "my pictures", "--output", "found"]
        assert main(args) == 1
    assert f"no Ray cluster at {address}" in capsys.readouterr().err
    check_reachable("auto")  # not asked
    check_reachable("ray://host.invalid:10001")


def test_without_ray(pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["--ray", "--ckpt", "model.pth", "my pictures", "--output", "found"]) == 1
    assert "[ray]" in capsys.readouterr().err


def test_ray_and_torchrun_exclude_each_other(pictures: Path, monkeypatch, capsys) -> None:
    launch = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    for name, value in {**launch, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    assert main(["--ray", "--ckpt", "model.pth", "my pictures", "--output", "found"]) == 1
    assert "torchrun" in capsys.readouterr().err
