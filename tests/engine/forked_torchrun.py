"""torchrun whose processes are forks of its own, which has imported PyTorch: they start at once.

forked_torchrun.py [options of torchrun] SCRIPT [arguments of the script]
"""

import multiprocessing
import runpy
import sys

from torch.distributed import run
from torch.distributed.launcher.api import elastic_launch


def run_script(script: str, *args: str) -> None:
    """Become the script, without the settings that the agent leaves in the forks."""
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = [script, *args]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    options = run.parse_args(sys.argv[1:])
    config, _, _ = run.config_from_args(options)
    config.start_method = "fork"
    elastic_launch(config, run_script)(options.training_script, *options.training_script_args)
