"""How long does importing the library take, in a new process?"""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.library import ROOT
from benchmarks.plan import Plan
from benchmarks.processes import environment_with
from benchmarks.timing import Comparison, Effort, Timer, compare, make_timer

_DETECTOR = "import ssd.config, ssd.modeling.detector"
_MOST = Effort(rounds=3, seconds=0.0)  # one start a round


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure the package, and what is needed to build a detector (left out in a smoke run)."""
    effort = plan.effort if plan.is_quick else _MOST
    timers = {"import ssd": _start("import ssd"), "python alone (floor)": _start("")}
    yield compare("Import time: the package", timers, effort, item="process")
    if plan.is_quick:
        return
    timers = {
        "import of config and detector": _start(_DETECTOR),
        "import torch, torchvision (floor)": _start("import torch, torchvision"),
        "import of torchvision's detectors": _start("from torchvision.models.detection import ssd300_vgg16"),
    }
    yield compare("Import time: all that builds a detector", timers, effort, item="process")


def _start(code: str) -> Timer:
    """Make a timer of starting Python, running ``code`` and ending."""
    environment = environment_with(ROOT)
    return make_timer(lambda: subprocess.run([sys.executable, "-c", code], env=environment, check=True))
