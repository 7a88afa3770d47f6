"""Evaluate a detector: python test.py --config-file configs/vgg_ssd300_voc0712.yaml [--ckpt FILE] [KEY VALUE ...]."""

import argparse
import sys
from pathlib import Path

from ssd.data import build_datasets, make_batch_transform, make_test_loader
from ssd.engine.inference import evaluate_datasets
from ssd.engine.setup import add_flag, make_parser, run_script, start_run
from ssd.engine.trained import build_trained_model, read_trained
from ssd.utils.distributed import get_rank, get_world_size, in_turns, said_once


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("Evaluate a detector on the datasets of DATASETS.TEST.")
    add_flag(parser, "--ckpt", default=None, metavar="FILE", help="path or URL; default: the last one of OUTPUT_DIR")
    add_flag(parser, "--output_dir", default=None, metavar="DIR", help="for results; default: OUTPUT_DIR/inference")
    return parser.parse_intermixed_args()


def main() -> None:
    """Evaluate as the command line says."""
    args = parse_args()
    cfg, device = start_run(args, distributed=True)
    with in_turns():
        checkpoint = read_trained(cfg, args.ckpt)
    with said_once():
        datasets = build_datasets(cfg, is_train=False, class_names=checkpoint.get("class_names"))
    model = build_trained_model(cfg, checkpoint, datasets[0].class_names, device)
    loaders = {
        name: make_test_loader(cfg, dataset, rank=get_rank(), world_size=get_world_size())
        for name, dataset in zip(cfg.DATASETS.TEST, datasets, strict=True)
    }
    evaluate_datasets(
        model,
        loaders,
        make_batch_transform(cfg, is_train=False),
        output_dir=Path(args.output_dir or Path(cfg.OUTPUT_DIR, "inference")),
        metric=cfg.TEST.METRIC,
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
