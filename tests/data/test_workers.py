import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Prints what becomes of a loader whose worker gets SIGTERM, first from a stranger, then from its own process.
LOADER = """
import os, signal, subprocess
from torch.utils.data import DataLoader
from ssd.data.build import init_worker

class Pids:
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        return os.getpid()

batches = iter(DataLoader(Pids(), num_workers=1, worker_init_fn=init_worker))
(pid,) = next(batches).tolist()
for number in (signal.SIGTERM, signal.SIGINT):
    subprocess.run(["/bin/kill", f"-{number.value}", str(pid)], check=True)
    assert all(next(batches).tolist() == [pid] for _ in range(20))
print("alive")
worker = batches._workers[0]
worker.terminate()
worker.join(20)
print("ended", worker.exitcode)
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="nothing tells who has sent a signal")
def test_a_worker_ends_when_its_process_says_so_and_not_when_others_do() -> None:
    run = subprocess.run([sys.executable, "-c", LOADER], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout == "alive\nended 0\n", run.stderr
