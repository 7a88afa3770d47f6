"""Runs tasks of a lufficc/SSD checkout for ``peer.py``: ``python peer_child.py CHECKOUT THREADS``, PYTHONPATH=CHECKOUT.

Reads a request a line from standard input, {"task", "inputs", "options", "calls"}, and answers {"seconds"} or
{"error"}. Nothing of this project is imported here: ``ssd`` is the checkout's.

One shim is needed. lufficc/SSD compares torchvision's version as a string when its NMS is imported ("0.29.2" is less
than "0.3.0") and then exits the interpreter; during that import torchvision is therefore given the version "0.9".

B images, P priors, C classes with background, G objects an image.
"""

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # the modules of this folder are not for the checkout

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image

Call = Callable[[], object]
Arrays = dict[str, np.ndarray]


def make_loader(arrays: Arrays, options: dict[str, str]) -> Call:
    """Each file through the training transforms; the matching of its dataset item is a task of its own."""
    cfg = _read_config()
    transform = _peer("data.transforms").build_transforms(cfg, is_train=True)
    paths = sorted(Path(options["photos"], "JPEGImages").iterdir())
    boxes, labels = arrays["boxes"].astype(np.float32), arrays["labels"].astype(np.int64)
    np.random.seed(0)  # the checkout draws from NumPy's global generator

    def load() -> None:
        for path, corners in zip(paths, boxes, strict=True):
            image = np.array(Image.open(path).convert("RGB"))
            transform(image, corners.copy(), labels.copy())

    return load


def make_assignment(arrays: Arrays, options: dict[str, str]) -> Call:
    """Target assignment, image by image as its dataset does it, before collation."""
    assign = _peer("data.transforms").build_target_transform(_read_config())
    images = list(zip(arrays["boxes"], arrays["labels"], strict=True))
    return lambda: [assign(boxes, labels) for boxes, labels in images]


def make_loss(arrays: Arrays, options: dict[str, str]) -> Call:
    """The loss forward and backward, of targets that are assigned already."""
    cfg = _read_config()
    loss = _peer("modeling.box_head.loss").MultiBoxLoss(neg_pos_ratio=cfg.MODEL.NEG_POS_RATIO)
    predictions = [_to_tensor(arrays, name, options).requires_grad_() for name in ("cls_logits", "bbox_pred")]
    locations, labels = _assign(arrays, options)

    def backward() -> None:
        reg_loss, cls_loss = loss(*predictions, labels, locations)
        torch.autograd.grad(reg_loss + cls_loss, predictions)

    return backward


def make_training_loss(arrays: Arrays, options: dict[str, str]) -> Call:
    """Target assignment on the CPU, collation and transfer, and the loss."""
    assign, loss = make_assignment(arrays, options), make_loss(arrays, options)

    def both() -> None:
        _collate(assign(), options)  # type: ignore[arg-type]
        loss()

    return both


def make_post_processing(arrays: Arrays, options: dict[str, str]) -> Call:
    """From predictions to detections."""
    cfg = _read_config()
    boxes = _peer("utils.box_utils")
    post_process = _peer("modeling.box_head.inference").PostProcessor(cfg)
    cls_logits, bbox_pred = (_to_tensor(arrays, name, options) for name in ("cls_logits", "bbox_pred"))
    priors = _peer("modeling.anchors.prior_box").PriorBox(cfg)().to(cls_logits.device)

    @torch.no_grad()
    def detect() -> None:
        scores = F.softmax(cls_logits, dim=2)
        decoded = boxes.convert_locations_to_boxes(
            bbox_pred, priors, cfg.MODEL.CENTER_VARIANCE, cfg.MODEL.SIZE_VARIANCE
        )
        post_process((scores, boxes.center_form_to_corner_form(decoded)))

    return detect


def make_step(arrays: Arrays, options: dict[str, str]) -> Call:
    """A training step on images and assigned targets, the meters' reads included as in its loop."""
    cfg = _read_config(options)
    model = _peer("modeling.detector").build_detection_model(cfg).to(options["device"]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    locations, labels = _assign(arrays, options, cfg)
    targets = _peer("structures.container").Container(boxes=locations, labels=labels)
    images = _to_tensor(arrays, "images", options)

    def step() -> None:
        losses = model(images, targets=targets)
        loss = sum(losses.values())
        for value in (loss, *losses.values()):
            value.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def make_network(arrays: Arrays, options: dict[str, str]) -> Call:
    """The network at inference, without post-processing."""
    model = _peer("modeling.detector").build_detection_model(_read_config(options)).to(options["device"]).eval()
    images = _to_tensor(arrays, "images", options)

    @torch.no_grad()
    def predict() -> None:
        model.box_head.predictor(model.backbone(images))

    return predict


def make_detection(arrays: Arrays, options: dict[str, str]) -> Call:
    """From uint8 images to detections on the CPU; the predictor works as ever, and returns the given predictions."""
    cfg = _read_config(options)
    model = _peer("modeling.detector").build_detection_model(cfg).to(options["device"]).eval()
    predictions = tuple(_to_tensor(arrays, name, options) for name in ("cls_logits", "bbox_pred"))
    model.box_head.predictor.register_forward_hook(lambda *_: predictions)
    pixels = _to_tensor(arrays, "images", options)
    mean = torch.tensor(cfg.INPUT.PIXEL_MEAN, device=pixels.device).view(3, 1, 1)

    @torch.no_grad()
    def detect() -> None:
        for found in model(pixels.float() - mean):
            found.to("cpu")

    return detect


TASKS: dict[str, Callable[[Arrays, dict[str, str]], Call]] = {
    "loader": make_loader,
    "assignment": make_assignment,
    "loss": make_loss,
    "training_loss": make_training_loss,
    "post_processing": make_post_processing,
    "step": make_step,
    "network": make_network,
    "detection": make_detection,
}


def _peer(module: str) -> Any:
    """A module of the checkout."""
    return importlib.import_module(f"ssd.{module}")


def _read_config(options: dict[str, str] | None = None) -> Any:
    """The checkout's config, by default that of VGG SSD300 on VOC; random weights."""
    options = options or {}
    cfg = _peer("config").cfg.clone()
    if "config" in options:
        cfg.merge_from_file(f"configs/{options['config']}.yaml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAINED", False, "MODEL.DEVICE", options.get("device", "cpu")])
    return cfg


def _to_tensor(arrays: Arrays, name: str, options: dict[str, str]) -> torch.Tensor:
    return torch.from_numpy(arrays[name]).to(options["device"])


def _assign(arrays: Arrays, options: dict[str, str], cfg: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Locations (B, P, 4) and labels (B, P) of the objects ``boxes`` (B, G, 4) and ``labels`` (B, G)."""
    assign = _peer("data.transforms").build_target_transform(cfg or _read_config())
    return _collate([assign(*image) for image in zip(arrays["boxes"], arrays["labels"], strict=True)], options)


def _collate(items: list[tuple[Any, Any]], options: dict[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
    locations, labels = (
        torch.stack([torch.as_tensor(value) for value in values]) for values in zip(*items, strict=True)
    )
    return locations.to(options["device"]), labels.to(options["device"])


@contextlib.contextmanager
def _old_torchvision() -> Iterator[None]:
    version = torchvision.__version__
    torchvision.__version__ = "0.9"
    try:
        yield
    finally:
        torchvision.__version__ = version


def _import_checkout(checkout: Path) -> None:
    """Import what the tasks use, and see that it is the checkout's."""
    with _old_torchvision():
        found = Path(_peer("config").__file__).resolve()
        if checkout not in found.parents:
            raise ImportError(f"the package ssd was found at {found}, not in {checkout}")
        for module in ("data.transforms", "modeling.detector", "modeling.box_head.inference"):
            _peer(module)


def _answer(request: dict[str, Any], ready: dict[str, Call]) -> dict[str, Any]:
    key = json.dumps([request["task"], request["inputs"], request["options"]])
    if key not in ready:
        with np.load(request["inputs"]) as file:
            ready[key] = TASKS[request["task"]](dict(file), request["options"])
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(request["calls"]):
        ready[key]()
    wait()
    return {"seconds": time.perf_counter() - started}


def _serve(requests: TextIO, answers: TextIO, checkout: Path) -> None:
    ready: dict[str, Call] = {}
    try:
        _import_checkout(checkout)
        answer: dict[str, Any] = {"ready": True}
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the checkout raises is the answer
        answer = {"error": f"cannot be imported: {_describe(error)}"}
    _send(answer, answers)
    for line in requests:
        try:
            answer = _answer(json.loads(line), ready)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            answer = {"error": _describe(error)}
        _send(answer, answers)


def _send(answer: dict[str, Any], answers: TextIO) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _describe(error: BaseException) -> str:
    """The error and the line of the checkout, or of this file, that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"


def main() -> None:
    """Answer requests until standard input ends."""
    checkout, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the checkout prints must not be taken for an answer
    _serve(sys.stdin, answers, checkout)


if __name__ == "__main__":
    main()
