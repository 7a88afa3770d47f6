"""What fitted priors gain: equal short trainings with the priors of a config and with those that `ssd priors` fits.

    python -m benchmarks.prior_fit configs/examples/bccd_mobilenet_v2.yaml --iterations 600 --seeds 0 1 2 -o outputs/fit

Each training is a process of one thread. A training that has ended is not repeated, one that was stopped goes on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssd.config import load_config
from ssd.utils.files import write_text

ROOT = Path(__file__).parents[1]


class Run(NamedTuple):
    """A training that has ended.

    Attributes:
        config: the stem of the file that was given.
        priors: "given" or "fitted".
        seed: SOLVER.SEED.
        recall: share of the training boxes that some prior reaches.
        values: the figures of the first set of DATASETS.TEST, by name.
    """

    config: str
    priors: str
    seed: int
    recall: float
    values: dict[str, float | None]


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prior_fit", description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, see configs/examples")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of config keys")
    parser.add_argument("--iterations", type=int, metavar="N", help="default: SOLVER.MAX_ITER; the schedule follows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="default 0 1 2")
    parser.add_argument("--max_ratios", type=int, metavar="N", help="see ssd priors")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/prior_fit"), metavar="FOLDER")
    return parser.parse_intermixed_args(args)


def main(args: Sequence[str] | None = None) -> int:
    """Fit, train and write the table."""
    parsed = parse_args(args)
    folder = parsed.output / parsed.config.stem
    recalls = fit(parsed, folder)
    overrides = schedule(parsed)  # fitted.yaml has the others, but for the priors that they may set
    configs = {"given": (parsed.config, [*parsed.opts, *overrides]), "fitted": (folder / "fitted.yaml", overrides)}
    runs = []
    for seed in parsed.seeds:  # in turns, so that a table that is stopped early compares equals
        for name, (config, own) in configs.items():
            values = train(config, own, seed, folder / f"{name}_seed{seed}")
            runs.append(Run(parsed.config.stem, name, seed, recalls[name], values))
            write_text(folder / "table.md", format_table(runs))
            write_text(folder / "runs.json", json.dumps([run._asdict() for run in runs], indent=1))
    sys.stdout.write(format_table(runs))
    return 0


def fit(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Fit the priors into folder/fitted.yaml; return the recall of both, by name."""
    command = ["-m", "ssd", "priors", args.config, *args.opts, "-o", folder / "priors"]
    limit = [] if args.max_ratios is None else ["--max_ratios", args.max_ratios]
    run_python(*command, "--fit", folder / "fitted.yaml", *limit, log=folder / "priors.log")
    paths = {"given": folder / "priors" / "priors.json", "fitted": folder / "priors" / "fitted" / "priors.json"}
    return {name: json.loads(path.read_text())["parts"]["data"]["total"]["recall"] for name, path in paths.items()}


def schedule(args: argparse.Namespace) -> list[Any]:
    """Return overrides that bring the schedule of the config to the iterations that are asked for."""
    solver = load_config(args.config, args.opts).SOLVER
    iterations = args.iterations or solver.MAX_ITER
    scale = iterations / solver.MAX_ITER
    return [
        *("SOLVER.MAX_ITER", iterations),
        *("SOLVER.LR_STEPS", [round(step * scale) for step in solver.LR_STEPS]),
        *("SOLVER.WARMUP_ITERS", round(solver.WARMUP_ITERS * scale)),
    ]


def train(config: Path, overrides: Sequence[Any], seed: int, output: Path) -> dict[str, float | None]:
    """Train unless that has been done, and return the figures of the evaluation after it."""
    (test_set, *_) = load_config(config, overrides).DATASETS.TEST
    metrics = output / "inference" / test_set / "metrics.json"
    if not metrics.exists():
        flags = ["--eval_step", 0, "--use_tensorboard", "false"]
        own = ["SOLVER.SEED", seed, "OUTPUT_DIR", output, "DATA_LOADER.NUM_WORKERS", 0]
        run_python(ROOT / "train.py", "--config-file", config, *flags, *overrides, *own, log=output / "stdout.log")
    values: dict[str, float | None] = json.loads(metrics.read_text())["values"]
    return values


def run_python(*args: Any, log: Path) -> None:
    """Run Python in a process of one thread, whose output goes to a file.

    Raises:
        SystemExit: it failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(log, "w", encoding="utf-8") as file:
        status = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT).returncode
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}; see {log}")


def format_table(runs: Sequence[Run]) -> str:
    """Return the runs, and the mean of each kind of priors, as a table in Markdown."""
    main_name = next(iter(runs[0].values))
    names = [main_name, *(name for name in runs[0].values if name != main_name)][:6]
    lines = [f"| config | priors | recall at the threshold | seed | {' | '.join(names)} |"]
    lines.append("|" + "---|" * (4 + len(names)))
    for priors in ("given", "fitted"):
        own = [run for run in runs if run.priors == priors]
        for run in own:
            cells = [format_value(run.values[name]) for name in names]
            lines.append(f"| {run.config} | {priors} | {run.recall:.3f} | {run.seed} | {' | '.join(cells)} |")
        if len(own) > 1:
            cells = [format_mean([run.values[name] for run in own]) for name in names]
            lines.append(f"| | | | mean | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def format_value(value: float | None) -> str:
    """Return a figure; None is one that cannot be measured."""
    return "-" if value is None else f"{value:.3f}"


def format_mean(values: Sequence[float | None]) -> str:
    """Return the mean and the standard deviation of figures."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return "-"
    return f"{statistics.mean(known):.3f} ± {statistics.stdev(known):.3f}"


if __name__ == "__main__":
    sys.exit(main())
