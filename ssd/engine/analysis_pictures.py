"""What TensorBoard shows of where a detector fails: the report's plots."""

import numpy as np

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import analyse
from ssd.evaluation.analysis.curves import sample_f1, sample_precision

_MAX_DETECTIONS = 300_000  # in a dataset that is analysed at every evaluation: 3 seconds of one core
_GRID = np.linspace(0, 1, 101)


def draw_analysis(evaluation: DatasetEvaluation) -> dict[str, np.ndarray]:
    """Draw precision against recall, F1 against the threshold, and which class is taken for which.

    Returns:
        RGB uint8 (H, W, 3) by name; nothing for more detections than can be analysed in some seconds.
    """
    if sum(len(image["labels"]) for image in evaluation.predictions) > _MAX_DETECTIONS:
        return {}
    # Here, since matplotlib is slow to import.
    from ssd.evaluation.analysis.classes import MAX_CONFUSED, MAX_LINES, pick_classes, pick_confused
    from ssd.visualization.plots import plot_confusion, plot_lines
    from ssd.visualization.theme import figure_to_rgb

    analysis = analyse(evaluation.dataset, evaluation.predictions, metric=evaluation.result.metric)
    names = analysis.tables.class_names
    lines = {names[label]: analysis.curves[label] for label in pick_classes(analysis.ap, MAX_LINES)}
    lines = {name: curve for name, curve in lines.items() if len(curve.scores)}
    precision = {name: (_GRID, sample_precision(curve, _GRID)) for name, curve in lines.items()}
    f1 = {name: (_GRID, sample_f1(curve, _GRID)) for name, curve in lines.items()}
    shown = [*pick_confused(analysis.confusion, MAX_CONFUSED), 0]
    matrix, classes = analysis.confusion[np.ix_(shown, shown)], [names[label] for label in shown[:-1]]
    figures = {
        "precision": plot_lines(precision, ("recall", "precision")),
        "f1": plot_lines(f1, ("score threshold", "F1"), marked_x=analysis.threshold),
        "confusion": plot_confusion(matrix, [*classes, "nothing there"], [*classes, "missed"]),
    }
    return {name: figure_to_rgb(figure) for name, figure in figures.items()}
