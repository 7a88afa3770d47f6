"""An explanation as plain data, and as lines for people."""

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ssd.tools.explain.candidates import FATES, KEPT, SUPPRESSED
from ssd.tools.explain.matching import Matching

if TYPE_CHECKING:
    from ssd.tools.explain.explanation import Explanation, Trace


def explanation_to_dict(explanation: "Explanation", detection: int) -> dict[str, Any]:
    """Return what explain.json holds; boxes are in pixels of the network input."""
    height, width = explanation.image.shape[:2]
    has_detection = len(explanation.candidates.detections) > 0
    return {
        "image": explanation.name,
        "image_size": explanation.orig_size,
        "network_size": [width, height],
        "class_names": explanation.class_names,
        "levels": [{**level._asdict(), "num_priors": level.num_priors} for level in explanation.levels],
        "training": None if explanation.matching is None else _matching_to_dict(explanation, explanation.matching),
        "detection": _candidates_to_dict(explanation),
        "trace": _trace_to_dict(explanation, explanation.trace(detection)) if has_detection else None,
    }


def _matching_to_dict(explanation: "Explanation", matching: Matching) -> dict[str, Any]:
    objects = [
        {
            "label": label,
            "class": explanation.class_names[label],
            "box": _numbers(matching.boxes[gt]),
            "priors": [
                {
                    **_prior_to_dict(explanation, prior),
                    "iou": _number(matching.iou[prior]),
                    "forced": bool(matching.is_forced[prior]),
                    "targets": _numbers(matching.bbox_targets[prior]),
                    "cls_loss": _number(matching.cls_loss[prior]),
                }
                for prior in matching.priors_of(gt).tolist()
            ],
        }
        for gt, label in enumerate(matching.labels.tolist())
    ]
    return {
        "iou_threshold": matching.iou_threshold,
        "neg_pos_ratio": matching.neg_pos_ratio,
        "losses": {name: _number(loss) for name, loss in matching.losses.items()},
        "num_positives": int(matching.pos_mask.sum()),
        "num_background": int((~matching.pos_mask).sum()),
        "objects": objects,
        "negatives": [_negative_to_dict(explanation, matching, prior) for prior in mined(matching).tolist()],
    }


def mined(matching: Matching) -> Tensor:
    """Return the indices of the negatives in the loss, the hardest first."""
    found = matching.neg_mask.nonzero().squeeze(1)
    return found[matching.neg_rank[found].argsort()]


def mistaken_for(explanation: "Explanation", prior: int) -> tuple[str, float]:
    """Return the name and the score of the class, other than background, that the network sees in a prior."""
    scores = explanation.class_scores[prior]
    label = int(scores[1:].argmax()) + 1
    return explanation.class_names[label], float(scores[label])


def losses_to_text(matching: Matching) -> str:
    """Return the losses of the image on one line."""
    return ", ".join(f"{name} {loss:.3f}" for name, loss in matching.losses.items())


def _negative_to_dict(explanation: "Explanation", matching: Matching, prior: int) -> dict[str, Any]:
    name, score = mistaken_for(explanation, prior)
    return {
        "rank": int(matching.neg_rank[prior]),
        **_prior_to_dict(explanation, prior),
        "cls_loss": _number(matching.cls_loss[prior]),
        "background_score": _number(explanation.class_scores[prior, 0]),
        "class": name,
        "score": _number(score),
        "iou": _number(matching.iou[prior]),
    }


def _candidates_to_dict(explanation: "Explanation") -> dict[str, Any]:
    found = explanation.candidates
    rows = zip(found.priors.tolist(), found.labels.tolist(), found.scores, found.boxes, strict=True)
    candidates = [
        {
            "candidate": row,
            "prior": prior,
            "class": explanation.class_names[label],
            "score": _number(score),
            "box": _numbers(box),
            "fate": FATES[int(found.fates[row])],
            "suppressed_by": None if found.suppressors[row] < 0 else int(found.suppressors[row]),
        }
        for row, (prior, label, score, box) in enumerate(rows)
    ]
    return {
        "num_above": found.num_above,
        "score_threshold": found.score_threshold,
        "nms_threshold": found.nms_threshold,
        "counts": {fate: found.count(fate) for fate in FATES},
        "candidates": candidates,
    }


def _trace_to_dict(explanation: "Explanation", trace: "Trace") -> dict[str, Any]:
    return {
        "detection": trace.number,
        "candidate": trace.candidate,
        **_prior_to_dict(explanation, trace.prior),
        "offsets": dict(zip(("dx", "dy", "dw", "dh"), _numbers(trace.offsets), strict=True)),
        "decoded_box": _numbers(trace.box),
        "class": explanation.class_names[trace.label],
        "score": _number(trace.score),
        "class_scores": dict(zip(explanation.class_names, _numbers(trace.class_scores), strict=True)),
        "suppressed": [
            {"candidate": row, "score": _number(explanation.candidates.scores[row]), "iou": _number(iou)}
            for row, iou in zip(trace.suppressed.tolist(), trace.suppressed_iou, strict=True)
        ],
        "object": trace.best_gt,
        "object_iou": _number(trace.best_gt_iou),
    }


def _prior_to_dict(explanation: "Explanation", prior: int) -> dict[str, Any]:
    return {"prior": prior, **explanation.place(prior)._asdict(), "prior_box": _numbers(explanation.priors[prior])}


def _number(value: Tensor | float) -> float | None:
    """Six digits, as float32 has hardly more; None for what JSON has no number for."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def explanation_to_text(explanation: "Explanation", detection: int) -> str:
    """Return a few lines that tell the most important numbers."""
    height, width = explanation.image.shape[:2]
    lines = [f"{explanation.name}: {explanation.orig_size[0]} x {explanation.orig_size[1]}, seen as {width} x {height}"]
    for level in explanation.levels:
        rows, columns = level.feature_map
        lines.append(
            f"  level {level.number}: {columns} x {rows} cells with {len(level.shapes)} priors each, {level.num_priors}"
        )
    if explanation.matching is not None:
        lines += _matching_lines(explanation, explanation.matching)
    found = explanation.candidates
    lines.append(
        f"{found.num_above} candidates score above {found.score_threshold:g}; the best {len(found.priors)} are looked "
        f"at: {found.count(SUPPRESSED)} suppressed by NMS, {found.count(KEPT)} detections"
    )
    if len(found.detections):
        lines += trace_lines(explanation, explanation.trace(detection))
    return "\n".join(lines) + "\n"


def _matching_lines(explanation: "Explanation", matching: Matching) -> list[str]:
    lines = []
    for gt, label in enumerate(matching.labels.tolist()):
        priors = matching.priors_of(gt)
        best = f"the best with IoU {float(matching.iou[priors[0]]):.2f}" if len(priors) else "so it is not learnt"
        forced = ", forced" if len(priors) and matching.is_forced[priors].all() else ""
        number = f"{len(priors)} prior{'s' * (len(priors) != 1)}"
        lines.append(f"  object {gt} ({explanation.class_names[label]}): {number}, {best}{forced}")
    num_pos, num_neg = int(matching.pos_mask.sum()), int(matching.neg_mask.sum())
    num_background, losses = int((~matching.pos_mask).sum()), losses_to_text(matching)
    lines.append(f"{num_pos} positives, {num_neg} of {num_background} negatives in the loss: {losses}")
    return lines


def trace_lines(explanation: "Explanation", trace: "Trace") -> list[str]:
    """Return how a detection came to be, in words."""
    level, row, column, shape = trace.place
    offsets = ", ".join(f"{value:+.2f}" for value in trace.offsets.tolist())
    return [
        f"detection {trace.number}: {explanation.class_names[trace.label]} {trace.score:.2f}",
        f"  from prior {shape} of level {level}, row {row}, column {column}; offsets {offsets}",
        f"  suppressed {len(trace.suppressed)} of the {len(trace.rivals) - 1} other candidates of its class",
    ]
