"""Checks that import native code, and so may fail in any way, or end their process.
``ssd.tools.doctor.isolated`` runs them.

A probe takes nothing and returns its finding; what it raises is told as an error.
"""

import importlib
import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

from ssd.tools.doctor.finding import Finding
from ssd.tools.doctor.machine import read_driver

# The module that is imported to try a required package: one with its native code, where it has any.
MODULES = {
    "numpy": "numpy",
    "pyyaml": "yaml",
    "defusedxml": "defusedxml.ElementTree",
    "tqdm": "tqdm",
    "yacs": "yacs.config",
    "pillow": "PIL.Image",
    "opencv-python": "cv2",
    "matplotlib": "matplotlib.font_manager",
    "pycocotools": "pycocotools.mask",
    "tensorboard": "tensorboard.compat.proto.event_pb2",  # breaks with the wrong protobuf
    "torch": "torch",
    "torchvision": "torchvision",
    "vizer": "vizer.draw",
}
# What is behind the name of the others -> the packages without which they make no sense.
NEEDS = {
    "operators": ("torch", "torchvision"),
    "GPU": ("torch",),
    "threads": ("torch",),
    "detection": tuple(MODULES),
}


def run_probe(name: str) -> Finding:
    """Run one probe: the import of a package by its name, or one of ``NEEDS``."""
    try:
        return _PROBES[name]() if name in _PROBES else _import(name)
    except Exception as error:  # noqa: BLE001  (whatever is broken is what we look for)
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(name, "error", f"fails: {what}", _remedy(name, what))


def _import(name: str) -> Finding:
    importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    return Finding(name, "ok", "")


def _remedy(name: str, error: str) -> str:
    """What helps against an error that many have had."""
    if "libGL" in error or "libgthread" in error or "libglib" in error:
        return (
            "a server lacks libraries for windows: apt-get install libgl1 libglib2.0-0; or, without them, "
            "pip uninstall -y opencv-python && pip install opencv-python-headless"
        )
    if "torchvision::nms" in error:
        return "install both at once, from one index: pip install --force-reinstall torch torchvision"
    if "No module named" in error and name in NEEDS:
        return "the library lacks files; install it anew"
    if "GPU" in name or "CUDA" in error:
        return "see pytorch.org/get-started for the build of torch that suits GPU and driver, or set MODEL.DEVICE cpu"
    if name in NEEDS:
        return "if all the packages are well, this is a mistake of the library: please report it"
    return f"pip install --force-reinstall {name}"


def _operators() -> Finding:
    import torch
    from torchvision.ops import nms

    boxes, scores = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]]), torch.tensor([0.5, 0.9])
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        kept = nms(boxes.to(device), scores.to(device), 0.5).tolist()
        if kept != [1]:
            return Finding("operators", "error", f"torchvision's nms is wrong on {device}: it keeps {kept}, not [1]")
    return Finding("operators", "ok", f"torchvision's nms runs on {' and '.join(devices)}")


def _gpu() -> Finding:
    import torch

    driver = read_driver()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_available = torch.cuda.is_available()
    if is_available:
        return Finding("GPU", "ok", f"{_try_gpus()}; torch is built for CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple MPS")
    if driver is None:
        return Finding("GPU", "note", "none that torch knows; the CPU computes")
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        found = f"{driver}, but CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}"
        return Finding("GPU", "warning", found, "unset it, or let it name a GPU; until then the CPU computes")
    if torch.version.cuda is None:
        remedy = "see pytorch.org/get-started for the index that has torch and torchvision for CUDA"
        return Finding("GPU", "warning", f"{driver}, but this torch is built for CPUs only", remedy)
    reasons = " ".join(" ".join(str(warning.message).split()) for warning in caught) or "torch does not say why"
    remedy = "update the driver, or see pytorch.org/get-started for a torch for the driver's CUDA"
    return Finding(
        "GPU", "warning", f"{driver}, but torch for CUDA {torch.version.cuda} does not use it: {reasons}", remedy
    )


def _try_gpus() -> str:
    """Name the GPUs, after a convolution on each."""
    import torch

    names = []
    for index in range(torch.cuda.device_count()):
        images = torch.ones(1, 3, 8, 8, device=f"cuda:{index}")
        mean = torch.nn.functional.conv2d(images, torch.ones(4, 3, 3, 3, device=images.device)).mean().item()
        if mean != 27:
            raise RuntimeError(f"GPU {index}: a convolution gives {mean}, not 27")
        properties = torch.cuda.get_device_properties(index)
        names.append(f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)")
    return ", ".join(names)


def _threads() -> Finding:
    import torch

    from ssd.utils.cores import available_cores

    threads, cores = torch.get_num_threads(), available_cores()
    found = f"PyTorch computes in {threads}, for {cores} core(s)"
    if threads > cores:
        return Finding(
            "threads", "warning", found, f"more threads than cores wait for each other: OMP_NUM_THREADS={cores}"
        )
    if threads < cores and "OMP_NUM_THREADS" in os.environ:
        return Finding("threads", "note", f"{found}: OMP_NUM_THREADS is {os.environ['OMP_NUM_THREADS']}")
    return Finding("threads", "ok", found)


def _detection() -> Finding:
    """From a shipped config and an encoded image to detections, with weights that mean nothing."""
    import cv2
    import torch

    from ssd.config import load_config
    from ssd.config.shipped import shipped_config
    from ssd.inference.api import make_predictor
    from ssd.modeling.detector import build_detection_model
    from ssd.structures.class_names import BACKGROUND
    from ssd.tools.data.scenes import SHAPES, render_scene
    from ssd.utils.device import select_device
    from ssd.weights.loaded_checkpoint import LoadedCheckpoint

    cfg = load_config(shipped_config("quickstart"), ["MODEL.NUM_CLASSES", len(SHAPES) + 1])
    torch.manual_seed(0)
    model: Any = build_detection_model(cfg)
    for header in model.box_head.predictor.cls_headers:  # a new one finds nothing but background
        torch.nn.init.normal_(header.weight, std=0.3)
        torch.nn.init.zeros_(header.bias)
    device = select_device("auto")
    checkpoint = LoadedCheckpoint(model.state_dict(), "random weights")
    detector = make_predictor(cfg, checkpoint, (BACKGROUND, *SHAPES), device)
    image, _ = render_scene(0, 0, (320, 240))
    content = cv2.imencode(".png", image)[1].tobytes()
    detector.predict(content)
    start = time.perf_counter()
    (found,) = detector.predict(content)
    elapsed = 1000 * (time.perf_counter() - start)
    coordinates = [float(value) for box in found.boxes for value in box]
    if not coordinates or not all(math.isfinite(value) and 0 <= value <= 320 for value in coordinates):
        return Finding("detection", "error", f"a random detector finds {len(found)} boxes, of {coordinates[:8]}")
    return Finding(
        "detection", "ok", f"a tiny detector finds {len(found)} boxes in an image, in {elapsed:.0f} ms on {device}"
    )


_PROBES: dict[str, Callable[[], Finding]] = {
    "operators": _operators,
    "GPU": _gpu,
    "threads": _threads,
    "detection": _detection,
}
