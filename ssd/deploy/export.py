"""Export of a detector as an ONNX file or as a program of torch.export."""

import copy
import logging
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ssd.deploy.graph import CompleteDetector, RawDetector, Suppress, onnx_translations, suppress, suppress_best
from ssd.deploy.metadata import PROGRAM_METADATA, Metadata, to_json, write_metadata
from ssd.modeling.detector import SSDDetector
from ssd.utils.errors import ExportError, OutputError, import_extra, os_errors_as
from ssd.utils.files import atomic_write

logger = logging.getLogger(__name__)

INPUT = "images"
RAW_OUTPUTS = ["cls_logits", "bbox_pred"]
COMPLETE_OUTPUTS = ["boxes", "scores", "labels", "counts"]

_OPSET = 20  # ONNX 1.15, November 2023
# Candidates per image of a complete torch.export program; at least four times MAX_PER_IMAGE.
_NUM_CANDIDATES = 1000


def export_onnx(model: SSDDetector, path: str | Path, metadata: Metadata, *, complete: bool = True) -> Path:
    """Write a detector as one ONNX file with a dynamic batch, and its description next to it; return ``path``.

    Args:
        model: The detector, which is not changed.
        path: Path of the ONNX file, which is replaced if it exists.
        metadata: Result of ``make_metadata``.
        complete: Map uint8 images of any size to the detections of PostProcessor; else (raw) map normalised images of
            the size of the network to predictions at every prior. The side-car describes both.
    """
    path, metadata = _writable(path), replace(metadata, kind="complete" if complete else "raw", sha256="")
    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx")
    module, example, dims = _prepare(model, metadata, suppress if complete else None)
    for name in ("onnxscript", "onnx_ir"):  # whose optimisers warn about single nodes
        logging.getLogger(name).setLevel(logging.ERROR)
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        dynamic_shapes=(dims,),
        input_names=[INPUT],
        output_names=COMPLETE_OUTPUTS if complete else RAW_OUTPUTS,
        opset_version=_OPSET,
        custom_translation_table=onnx_translations() if complete else None,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    with os_errors_as(OutputError, path), atomic_write(path) as file:
        file.write(proto.SerializeToString())
    write_metadata(metadata, path)
    logger.info("Exported %s (%s)", path, metadata.kind)
    return path


def export_program(model: SSDDetector, path: str | Path, metadata: Metadata, *, complete: bool = True) -> Path:
    """Write a detector as a program of torch.export (.pt2) with a dynamic batch, for the CPU.

    ``torch.export.load(path).module()`` runs it with torch and torchvision alone. The file has its own description:
    ``extra_files={"metadata.json": ""}``. Arguments and errors are those of ``export_onnx``.

    The complete form looks at the best 1000 (class, prior) pairs of each image, or at four times MAX_PER_IMAGE; if
    these have fewer than MAX_PER_IMAGE detections, PostProcessor finds more.
    """
    path, metadata = _writable(path), replace(metadata, kind="complete" if complete else "raw", sha256="")
    limit = metadata.max_per_image if metadata.max_per_image >= 0 else len(metadata.priors) * len(metadata.class_names)
    suppress_some = partial(suppress_best, num_candidates=max(_NUM_CANDIDATES, 4 * limit))
    module, example, dims = _prepare(model, metadata, suppress_some if complete else None)
    with warnings.catch_warnings():
        # torchvision's own, from its declaration of NMS
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)
        program = torch.export.export(module, (example,), dynamic_shapes=(dims,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # has paths of this machine
    description = {PROGRAM_METADATA: to_json(metadata)}
    with os_errors_as(OutputError, path), atomic_write(path) as file:
        torch.export.save(program, file, extra_files=description)
    logger.info("Exported %s (%s)", path, metadata.kind)
    return path


def _writable(path: str | Path) -> Path:
    """Create the folder of a path before the export, which takes long."""
    path = Path(path)
    with os_errors_as(OutputError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _prepare(
    model: SSDDetector, metadata: Metadata, suppress: Suppress | None
) -> tuple[nn.Module, Tensor, dict[int, Any]]:
    """Return the module to export (raw without ``suppress``), an input for it, and the dynamic dimensions of that."""
    model = copy.deepcopy(model).to("cpu").to(memory_format=torch.contiguous_format)
    network = RawDetector(model).eval().requires_grad_(False)
    height, width = metadata.image_size
    example = torch.zeros(2, 3, height, width)  # torch.export treats a size of 1 as a constant
    _check_fit(network, example, metadata)
    if suppress is None:
        return network, example, {0: Dim("batch")}
    detector = CompleteDetector(network, metadata, suppress).eval()
    images = torch.zeros(2, height + 1, width + 1, 3, dtype=torch.uint8)
    return detector, images, {0: Dim("batch"), 1: Dim("height"), 2: Dim("width")}


def _check_fit(network: RawDetector, example: Tensor, metadata: Metadata) -> None:
    cls_logits, bbox_pred = network(example)
    num_priors, num_classes = len(metadata.priors), len(metadata.class_names)
    expected = [(len(example), num_priors, num_classes), (len(example), num_priors, 4)]
    found = [tuple(cls_logits.shape), tuple(bbox_pred.shape)]
    if found != expected:
        raise ExportError(
            f"the model does not fit its metadata: with {num_priors} priors and {num_classes} classes (background "
            f"included) it must predict {expected}, but predicts {found}; make the metadata from the model's own config"
        )


def _strip(proto: Any) -> None:
    """Remove the exporter's notes about the source code, which have paths of this machine."""
    graph = proto.graph
    for entry in [proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        del entry.metadata_props[:]
        entry.doc_string = ""
