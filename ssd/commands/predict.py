"""The command `ssd predict`: detection in many images, by one process, those of torchrun, or a Ray cluster."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ssd.commands.arguments import add_flag, parse_tile
from ssd.commands.run import run_script
from ssd.config import Config
from ssd.inference.api import make_predictor
from ssd.tools.bulk.counts import add_up, format_counts
from ssd.tools.bulk.detect import PredictOptions
from ssd.tools.bulk.job import Job, default_part_size, digest_listing, make_detector_digest
from ssd.tools.bulk.listing import list_images
from ssd.tools.bulk.part_folder import PartFolder
from ssd.tools.bulk.ray_job import run_on_ray
from ssd.tools.bulk.rows import FORMATS
from ssd.tools.bulk.work import do_parts
from ssd.utils.distributed import Launch, read_launch, select_local_device
from ssd.utils.errors import ConfigError, import_extra
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.logger import setup_logger
from ssd.utils.terminal import say
from ssd.weights.loaded_checkpoint import LoadedCheckpoint, trained_class_names
from ssd.weights.trained import read_with_config

logger = logging.getLogger(__name__)


def main(args: Sequence[str]) -> int:
    """Run `ssd predict`.

    Returns:
        0; 1 for a mistake, or when the job is done and images failed; 130 after Ctrl-C and 143 after SIGTERM.
    """
    parsed = parse_args(args)
    return run_script(lambda: predict(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd predict`."""
    parser = argparse.ArgumentParser(
        prog="ssd predict",
        description="Detect in many images and write what is found in parts; the same command continues where it was "
        "stopped. torchrun shares the work among processes: torchrun --nproc_per_node N -m ssd.cli predict ...",
    )
    help_text = "image, folder, glob pattern or address"
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=help_text)
    help_text = "text file with a path or an address a line"
    parser.add_argument("--list", type=Path, metavar="FILE", help=help_text)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the parts")
    help_text = "path or URL; default: the last one of OUTPUT_DIR"
    add_flag(parser, "--ckpt", default=None, metavar="FILE", help=help_text)
    help_text = "YAML file; default: the config that --ckpt carries"
    add_flag(parser, "--config-file", default=None, metavar="FILE", help=help_text)
    parser.add_argument("--format", choices=list(FORMATS), help="default: jsonl, and parquet with --ray")
    add_flag(parser, "--part_size", type=int, default=None, metavar="N", help="images in a part; default: 32 to 1000")
    help_text = "images in the network at once (%(default)s)"
    add_flag(parser, "--batch_size", type=int, default=8, metavar="N", help=help_text)
    help_text = "keep what scores above this; default: TEST.CONFIDENCE_THRESHOLD"
    add_flag(parser, "--score_threshold", type=float, default=None, metavar="S", help=help_text)
    help_text = "also look at tiles of this side in pixels (without a number: the network's input)"
    add_flag(parser, "--tile", nargs="?", type=parse_tile, const=True, metavar="SIZE", help=help_text)
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of config keys")
    parser.add_argument("--ray", action="store_true", help="share the work among the machines of a Ray cluster")
    help_text = "of the cluster, with --ray; default: the one of this machine, else a new one"
    parser.add_argument("--address", metavar="ADDRESS", help=help_text)
    help_text = "detectors, with --ray; default: one for each GPU of the cluster, or else for each core"
    parser.add_argument("--actors", type=int, metavar="N", help=help_text)
    return parser.parse_intermixed_args(args)


@dataclass(frozen=True)
class Plan:
    """All that is known before the detection begins.

    Attributes:
        cfg: of the detector.
        trained: its checkpoint, see ``read_trained``.
        files: the images, in order.
        folder: gets the parts.
        options: how to detect.
    """

    cfg: Config
    trained: LoadedCheckpoint
    files: list[str]
    folder: PartFolder
    options: PredictOptions


def predict(args: argparse.Namespace) -> int:
    """Detect as the command line says."""
    launch = read_launch()
    setup_logger(None, rank=launch.rank)
    check_args(args, launch)
    plan = make_plan(args)
    device = None if args.ray else start_device(plan.cfg.MODEL.DEVICE, launch)
    plan.folder.open()
    pending = plan.folder.pending()
    job = plan.folder.job
    logger.info("%d images in %d parts, %d of them to do", job.num_images, job.num_parts, len(pending))
    if device is None:
        mine = pending
        stopped = run_on_ray(
            plan.cfg, plan.trained, plan.files, plan.folder, plan.options,
            parts=pending, address=args.address, num_actors=args.actors,
        )  # fmt: skip
    else:
        mine = [part for part in pending if part % launch.world_size == launch.rank]
        # Ctrl-C reaches each of several processes twice: from the terminal, and from torchrun.
        stopped = do_share(plan, mine, device, patient=launch.world_size > 1)
    return finish(plan.folder, stopped, tells=bool(mine) or launch.rank == 0)


def check_args(args: argparse.Namespace, launch: Launch) -> None:
    """Raise ConfigError for options that are wrong or contradict each other."""
    if args.ckpt is None and args.config_file is None:
        raise ConfigError("--ckpt or --config-file is missing; for example --ckpt outputs/quickstart/model_final.pth")
    if not args.sources and args.list is None:
        raise ConfigError("there is nothing to detect in: name a folder, a pattern, ..., or a --list")
    for name in ("batch_size", "part_size", "actors"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}")
    if not args.ray and (args.address is not None or args.actors is not None):
        raise ConfigError("--address and --actors are about a Ray cluster; add --ray")
    if args.ray and launch.world_size > 1:
        raise ConfigError("--ray starts its processes itself: start the command without torchrun")
    if args.format == "parquet":
        import_extra("pyarrow.parquet", "parquet")


def make_plan(args: argparse.Namespace) -> Plan:
    """Read the detector's files and list the images.

    Raises:
        ConfigError: the config is missing or wrong, or the classes are not known.
        CheckpointError: the checkpoint is missing or damaged, or carries no config.
        DownloadError, MissingPackageError: see ``read_with_config``.
        ImageError: see ``list_images``.
    """
    cfg, trained = read_with_config(args.config_file, args.ckpt, args.opts)
    class_names = trained_class_names(cfg, trained)
    files = list_images(args.sources, args.list)
    threshold = cfg.TEST.CONFIDENCE_THRESHOLD if args.score_threshold is None else args.score_threshold
    job = Job(
        listing=digest_listing(files),
        num_images=len(files),
        detector=make_detector_digest(cfg, trained.weights),
        class_names=class_names,
        score_threshold=threshold,
        tile=args.tile,
        format=args.format or ("parquet" if args.ray else "jsonl"),
        part_size=args.part_size or default_part_size(len(files)),
    )
    options = PredictOptions(args.batch_size, threshold, args.tile)
    return Plan(cfg, trained, files, PartFolder(args.output, job), options)


def start_device(name: str, launch: Launch) -> torch.device:
    """Return this process's own device, ready for images of one size."""
    device = select_local_device(name, launch)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        if device.index is not None:
            torch.cuda.set_device(device)
    return device


def do_share(plan: Plan, parts: Sequence[int], device: torch.device, *, patient: bool) -> int:
    """Do the parts that are this process's; return the exit status of a signal that stopped it, else 0."""
    if not parts:
        return 0
    with InterruptGuard(patient=patient) as interrupt:
        predictor = make_predictor(plan.cfg, plan.trained, plan.folder.job.class_names, device)
        do_parts(predictor, plan.folder, plan.files, parts, plan.options, interrupt=interrupt)
    return interrupt.exit_status


def finish(folder: PartFolder, stopped: int, *, tells: bool) -> int:
    """Tell what all processes have found, if they are through, and return the exit status.

    Only the last of several processes returns 1 for images that failed: torchrun ends the others when one does.

    Args:
        folder: of the job.
        stopped: exit status of a signal that this process ended for, else 0.
        tells: whether this process may be the one that tells.
    """
    pending = folder.pending()
    if pending and stopped:
        done = folder.job.num_parts - len(pending)
        logger.info("Stopped; %d of %d parts are done, and the same command continues", done, folder.job.num_parts)
        return stopped
    if pending:
        logger.info("This process has done its share; %d parts are others' and not done yet", len(pending))
        return 0
    if not tells:
        return 0
    folder.remove_remains()  # now that no process writes
    counts = add_up(folder.read_counts(part) for part in range(folder.job.num_parts))
    say(f"{format_counts(counts)}\nWritten: {folder.path}\n")
    return 1 if counts.failures else 0
