"""How long does it take from predictions to detections?"""

from collections.abc import Iterator

from benchmarks import library, rivals
from benchmarks.inputs import count_candidates, make_predictions, make_targets, make_untrained_predictions
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, compare
from ssd.modeling.box_head import Predictions

# Classes with background, candidates an image (None: an untrained network's), batch size on a CPU and on a GPU.
_CASES: tuple[tuple[int, int | None, int, int], ...] = ((21, 5_000, 8, 64), (81, 50_000, 4, 64), (81, None, 1, 8))
_QUICK_CASES: tuple[tuple[int, int | None, int, int], ...] = ((21, 5_000, 2, 2),)


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure post-processing of SSD300 by classes and candidates."""
    for num_classes, candidates, *batch_sizes in _QUICK_CASES if plan.is_quick else _CASES:
        yield _measure(plan, num_classes, candidates, batch_sizes[plan.is_gpu])


def _measure(plan: Plan, num_classes: int, candidates: int | None, batch_size: int) -> Comparison:
    head = library.build_ssd300_head(plan.device, num_classes)
    if candidates is None:
        predictions = make_untrained_predictions(batch_size, len(head.priors), num_classes)
    else:
        targets = make_targets(batch_size, num_classes, plan.device)
        predictions = make_predictions(targets, head.priors, num_classes, candidates)
    cls_logits, bbox_pred = (tensor.to(plan.device) for tensor in predictions)
    theirs = rivals.TorchvisionHead(plan.device, num_classes, batch_size)
    arrays = {"cls_logits": cls_logits, "bbox_pred": bbox_pred}
    timers = {
        "ssd": plan.timer(lambda: head.detect(Predictions(cls_logits, bbox_pred))),
        "torchvision (400 candidates a class at most)": plan.timer(lambda: theirs.post_process(cls_logits, bbox_pred)),
        **plan.peer_timer("post_processing", arrays, device=str(plan.device)),
    }
    kind = "an untrained network" if candidates is None else f"{candidates:,} candidates an image"
    title = f"Post-processing: SSD300, {num_classes} classes, batch {batch_size}, {kind}"
    comparison = compare(title, timers, plan.effort, items=batch_size)
    comparison.facts["candidates an image, counted"] = count_candidates(cls_logits)
    return comparison
