"""ssd reproduce: the same weights again, or what is in the way."""

import json
import logging
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ssd.commands import reproduce
from ssd.commands.reproduce import compare, main, make_command, train_again, write_config
from ssd.config import load_config
from ssd.engine.manifest import read_manifest
from ssd.utils.errors import ConfigError, OutputError
from tests.forks import Forks

ROOT = Path(__file__).parents[2]


def call(*args: object) -> int:
    return main(list(map(str, args)))


@pytest.fixture
def manifest(config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run of four iterations that was interrupted after two and continued."""

    def train(*args: object) -> None:
        command = ["train.py", "--config-file", config_file, "--save_step", 2, "--eval_step", 0, *args]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        assert exit_info.value.code == 0

    train("--skip-test", "SOLVER.MAX_ITER", 2)
    train("SOLVER.MAX_ITER", 4)
    path = tmp_path / "out" / "manifest.json"
    content = json.loads(path.read_text())
    content["starts"][0]["config"]["SOLVER"]["MAX_ITER"] = 4  # as if a signal had ended the first
    path.write_text(json.dumps(content))
    return path


def edit(manifest: Path, **values: Any) -> None:
    content = json.loads(manifest.read_text())
    content["starts"][-1].update(values)
    manifest.write_text(json.dumps(content))


def test_the_same_weights_again(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a run in two pieces, by another process, to the bit; and again nothing is left to do."""
    before = read_manifest(manifest)
    assert [start["start_iteration"] for start in before] == [0, 2]
    assert call(manifest) == 0
    folder = tmp_path / "out_reproduced"
    (again,) = read_manifest(folder / "manifest.json")
    assert again["result"]["weights"] == before[1]["result"]["weights"]
    assert again["initial_weights"] == before[0]["initial_weights"]
    assert again["result"]["metrics"] == before[1]["result"]["metrics"] != {}
    assert (folder / "model_000002.pth").is_file()  # saved as often as before
    assert "The weights are the same to the bit" in capfd.readouterr().out
    assert call(manifest) == 0
    assert "Nothing is left to train" in capfd.readouterr().out


def test_what_is_not_as_it_was_stops_it(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start = read_manifest(manifest)[-1]
    edit(manifest, versions={**start["versions"], "numpy": "0.1"})
    assert call(manifest, "--output_dir", tmp_path / "again") == 1
    shown = capfd.readouterr().out
    assert "Not as it was:\n  from iteration 2 on, versions.numpy" in shown
    assert "\n  versions.numpy: '0.1' -> " in shown
    assert "--force trains all the same" in shown
    assert not (tmp_path / "again").exists()


def test_force_and_another_result(
    manifest: Path,
    tmp_path: Path,
    forks: Forks,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def train(command: list[str], threads: int) -> int:
        statuses, _ = forks(ROOT / "train.py", *command[4:], cwd=tmp_path, OMP_NUM_THREADS=str(threads))
        return statuses[0]

    monkeypatch.setattr(reproduce, "train_again", train)
    start = read_manifest(manifest)[-1]
    config = {**start["config"], "SOLVER": {**start["config"]["SOLVER"], "LR": 0.01}}
    edit(manifest, config=config, arguments={**start["arguments"], "skip_test": True})
    assert call(manifest, "--output_dir", tmp_path / "again", "--force") == 1
    shown = capfd.readouterr().out
    assert "from iteration 2 on, SOLVER.LR: 0.001 -> 0.01" in shown
    assert "The weights are others. Metrics:\n  test_scenes: " in shown


def test_a_training_that_does_not_end_passes_its_status_on(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "train_again", lambda command, threads: 143)
    assert call(manifest) == 143


def test_mistakes_end_in_a_message(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "gone.json") == 1
    assert "gone.json' cannot be read" in capfd.readouterr().err
    start = read_manifest(manifest)[-1]
    edit(manifest, config={**start["config"], "COLOUR": "blue"})
    assert call(manifest) == 1
    assert "unknown key COLOUR" in capfd.readouterr().err


def start_of(**values: Any) -> dict[str, Any]:
    return {"processes": 1, "processes_of_a_machine": 1, "arguments": {}, **values}


def test_the_command() -> None:
    arguments = {"log_step": 5, "use_tensorboard": False, "skip_test": True, "resume_schedule": True}
    command = make_command(start_of(arguments=arguments), Path("again"))
    assert command[0] == sys.executable
    assert command[1:4] == ["-m", "ssd.cli", "train"]
    config = str(Path("again", "reproduced.yaml"))
    assert command[4:] == ["--config-file", config, "--log_step=5", "--use_tensorboard=False", "--skip-test"]
    several = make_command(start_of(processes=4, processes_of_a_machine=4), Path("again"))
    assert several[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=4"]


def test_what_cannot_be_started() -> None:
    with pytest.raises(ConfigError, match=r"8 processes have trained, 4 a machine: start ssd train"):
        make_command(start_of(processes=8, processes_of_a_machine=4), Path("again"))


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    cfg = load_config(None, ["OUTPUT_DIR", str(tmp_path / "new")])
    write_config(cfg, tmp_path / "new")
    write_config(cfg, tmp_path / "new")  # it goes on
    with pytest.raises(OutputError, match=r"new holds something else; name a new folder with --output_dir"):
        write_config(load_config(None, ["SOLVER.LR", 0.5]), tmp_path / "new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model_final.pth").touch()
    with pytest.raises(OutputError, match="old holds something else"):
        write_config(cfg, tmp_path / "old")
    with pytest.raises(OutputError, match="cannot be written"):
        write_config(cfg, tmp_path / "old" / "model_final.pth")


def test_threads_are_those_of_the_first() -> None:
    code = "import os, sys; sys.exit(int(os.environ['OMP_NUM_THREADS']))"
    assert train_again([sys.executable, "-c", code], 3) == 3


CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open(sys.argv[1], "w").close()
time.sleep(60)
"""


def test_a_request_to_end_is_passed_on(tmp_path: Path) -> None:
    mark = tmp_path / "started"

    def terminate() -> None:
        while not mark.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    started = time.monotonic()
    assert train_again([sys.executable, "-c", CHILD, str(mark)], None) == 143
    assert time.monotonic() - started < 30
    thread.join()


def test_results_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    def told(weights: str, mean_ap: float, initial: str = "i") -> list[dict[str, Any]]:
        result = {"weights": weights, "metrics": {"scenes": {"mAP": mean_ap}}}
        return [{"initial_weights": initial, "result": result}]

    with caplog.at_level(logging.INFO):
        assert compare(told("a", 0.5), told("a", 0.5)) == 0
        assert compare(told("a", 0.5), told("b", 0.5)) == 1
        assert compare(told("a", 0.5), told("b", 0.25, initial="j")) == 1
        assert compare([{"initial_weights": "i"}], told("a", 0.5)) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "The weights are the same to the bit",
        "The weights are others. The metrics are the same",
        "They began with other weights; look at MODEL.WEIGHTS and MODEL.BACKBONE.PRETRAINED",
        "The weights are others. Metrics:\n  scenes.mAP: 0.5 -> 0.25",
        "Done. The manifest has no result, since its training did not end: there is nothing to compare with",
    ]
