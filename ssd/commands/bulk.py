"""`ssd predict --parts`: detection in many images by one process, those of torchrun, or a Ray cluster."""

import argparse
import logging

from ssd.inference.api import make_predictor
from ssd.tools.bulk.listing import list_images
from ssd.tools.bulk.part_folder import PartFolder, make_job
from ssd.tools.bulk.ray_job import run_on_ray
from ssd.tools.bulk.worker import do_parts, start_device
from ssd.utils.distributed import Launch, read_launch
from ssd.utils.errors import ConfigError, import_extra
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.logger import say, setup_logger
from ssd.weights.loaded_checkpoint import trained_class_names
from ssd.weights.trained import read_with_config

logger = logging.getLogger(__name__)


def check_args(args: argparse.Namespace, launch: Launch) -> None:
    """Raise ConfigError for options that are wrong or contradict each other."""
    if args.output is None:
        raise ConfigError("--parts needs -o FOLDER, in which the same command continues where it was stopped")
    for name in ("batch_size", "part_size", "actors"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if not args.ray and (args.address is not None or args.actors is not None):
        raise ConfigError("--address and --actors are for a Ray cluster; add --ray")
    if args.ray and launch.world_size > 1:
        raise ConfigError("--ray starts its own processes: start the command without torchrun")
    if args.format == "parquet":
        import_extra("pyarrow.parquet", "parquet")


def predict_parts(args: argparse.Namespace) -> int:
    """Run the job; return the exit status."""
    launch = read_launch()
    setup_logger(None, rank=launch.rank)
    check_args(args, launch)
    cfg, checkpoint = read_with_config(args.config_file, args.ckpt, args.opts)
    class_names = trained_class_names(cfg, checkpoint)
    files = list_images(args.sources, args.list)
    job = make_job(
        cfg, checkpoint, class_names, files,
        score_threshold=args.threshold, tile=args.tile, part_size=args.part_size,
        file_format=args.format or ("parquet" if args.ray else "jsonl"),
    )  # fmt: skip
    folder = PartFolder(args.output, job)
    device = None if args.ray else start_device(cfg.MODEL.DEVICE, launch)
    folder.open()
    pending = folder.pending()
    logger.info("%d images in %d parts, %d of them to do", job.num_images, job.num_parts, len(pending))
    if device is None:
        options = {"batch_size": args.batch_size, "address": args.address, "num_actors": args.actors}
        stopped = run_on_ray(cfg, checkpoint, files, folder, pending, **options)
        return finish(folder, stopped, reports=True)
    own = [part for part in pending if part % launch.world_size == launch.rank]
    # Several processes get Ctrl-C twice: from the terminal, and from torchrun.
    with InterruptGuard(patient=launch.world_size > 1) as interrupt:
        if own:
            predictor = make_predictor(cfg, checkpoint, class_names, device)
            do_parts(predictor, files, folder, own, args.batch_size, interrupt=interrupt)
    return finish(folder, interrupt.exit_status, reports=bool(own) or launch.rank == 0)


def finish(folder: PartFolder, stopped: int, *, reports: bool) -> int:
    """Print the counts if all parts are done and this process ``reports`` them, and return the exit status.

    That is ``stopped`` where a signal has ended this process. Only the last of several processes returns 1 for failed
    images: torchrun ends the others when one does.
    """
    num_pending, num_parts = len(folder.pending()), folder.job.num_parts
    if num_pending and stopped:
        logger.info("Stopped; %d of %d parts are done, the same command continues", num_parts - num_pending, num_parts)
        return stopped
    if num_pending:
        logger.info("This process is done; %d parts of other processes are not", num_pending)
    if num_pending or not reports:
        return 0
    folder.remove_remains()  # no process writes any more
    counts = folder.count()
    say(f"{counts}\nWritten: {folder.path}\n")
    return 1 if counts.failures else 0
