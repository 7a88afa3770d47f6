"""The probes themselves, in this process; GPUs are simulated."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssd.tools.doctor import probes
from ssd.tools.doctor.probes import run_probe


def test_operators() -> None:
    finding = run_probe("operators")
    assert (finding.status, finding.found[:26]) == ("ok", "torchvision's nms runs on ")


def test_operators_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.ops.nms", lambda *_: torch.tensor([0, 1]))
    assert run_probe("operators").found == "torchvision's nms is wrong on cpu: it keeps [0, 1], not [1]"


def test_detection() -> None:
    finding = run_probe("detection")
    assert finding.status == "ok", finding
    assert finding.found.startswith("a tiny detector finds ")


def test_detection_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd.config.files.FOLDERS", (tmp_path, tmp_path))
    finding = run_probe("detection")
    assert finding.status == "error"
    assert "ConfigError" in finding.found


class TestThreads:
    @pytest.mark.parametrize(("threads", "status"), [(4, "ok"), (9, "warning"), (1, "note")])
    def test_against_cores(self, threads: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr("ssd.utils.machine.available_cores", lambda: 4)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        finding = run_probe("threads")
        assert finding.status == status
        assert finding.found.startswith(f"PyTorch computes in {threads}, for 4 core(s)")
        assert finding.remedy.endswith("OMP_NUM_THREADS=4") == (status == "warning")


class TestGpu:
    @pytest.fixture(autouse=True)
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(probes, "read_driver", lambda: "NVIDIA driver 470.1, NVIDIA L4")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def test_no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probes, "read_driver", lambda: None)
        assert run_probe("GPU").status == "note"

    def test_torch_for_cpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.version, "cuda", None)
        finding = run_probe("GPU")
        assert finding.status == "warning"
        assert finding.found == "NVIDIA driver 470.1, NVIDIA L4, but this torch is built for CPUs only"

    def test_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "CUDA_VISIBLE_DEVICES is ''" in run_probe("GPU").found

    def test_old_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def is_available() -> bool:
            warnings.warn("The NVIDIA driver on your system\nis too old", UserWarning, stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        finding = run_probe("GPU")
        assert finding.status == "warning"
        assert finding.found.endswith("does not use it: The NVIDIA driver on your system is too old")
        assert finding.remedy.startswith("update the driver")

    def test_mps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        assert run_probe("GPU").found == "Apple MPS"

    def test_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="NVIDIA L4", total_memory=24 * 2**30)
        )
        ones = torch.ones
        monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
        finding = run_probe("GPU")
        assert (finding.status, finding.found) == ("ok", "NVIDIA L4 (24 GiB); torch is built for CUDA 13.0")
        monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size) * 2)
        finding = run_probe("GPU")
        assert finding.status == "error"
        assert "GPU 0: a convolution gives 108.0, not 27" in finding.found
        assert "pytorch.org/get-started" in finding.remedy


@pytest.mark.parametrize(
    ("name", "error", "remedy"),
    [
        ("opencv-python", "libGL.so.1: cannot open shared object file", "apt-get install libgl1 libglib2.0-0; or, "),
        ("torchvision", "operator torchvision::nms does not exist", "install both at once, from one index: pip "),
        ("pandas", "numpy.dtype size changed", "pip install --force-reinstall pandas"),
        ("operators", "No module named 'ssd.structures'", "the library lacks files; install it anew"),
        ("threads", "it rains", "if all the packages are well, this is a mistake of the library: please report it"),
    ],
)
def test_remedies(name: str, error: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError(error)

    monkeypatch.setattr(probes, "_import", fail)
    monkeypatch.setattr(probes, "_PROBES", dict.fromkeys(probes._PROBES, fail))
    finding = run_probe(name)
    assert (finding.status, finding.found) == ("error", f"fails: ImportError: {error}")
    assert remedy in finding.remedy


def test_a_detection_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        boxes = ((0.0, 1.0, float("nan"), 9.0),)

        def __len__(self) -> int:
            return 1

    monkeypatch.setattr("ssd.inference.predictor.Predictor.predict", lambda *_: [Found()])
    finding = run_probe("detection")
    assert (finding.status, finding.found) == ("error", "a random detector finds 1 boxes, of [0.0, 1.0, nan, 9.0]")
