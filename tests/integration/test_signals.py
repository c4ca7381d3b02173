"""A signal leaves an interrupted sweep, whose steps are not lost; so does Ctrl-C in a program or notebook."""

import gc
import os
import signal
import subprocess
import sys

import psutil
import pytest
import ray

from orchestrator import Sweep
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.monitor import SilentMonitor
from tests.support.processes import wait_for
from tests.support.project import write_config, write_project

NUM_TRIALS, NUM_STEPS = 2, 40


@pytest.fixture
def sweep(tmp_path):
    config = write_project(tmp_path)
    config["method"]["num_steps"] = NUM_STEPS
    config["privacy"] = {"rounding_share": 0, "noise_multiplier": 4.0, "expected_batch_size": 16, "spare_steps": 4}
    config["search"] |= {"num_trials": NUM_TRIALS, "sampler": "random"}
    return Sweep(write_config(tmp_path, config))


def test_a_signal_leaves_an_interrupted_sweep_and_no_process(sweep, tmp_path):
    storage = storage_of(sweep.config)
    command = [sys.executable, "-m", "orchestrator"]
    arguments = ["sweep", str(tmp_path / "config.json")]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = storage.trial_folder(0) / "release_log.jsonl"
    wait_for(lambda: log.exists() and log.read_bytes().count(b'"RELEASE"') > 5, 200, "it never began", 0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    line = f"Interrupted by SIGTERM. Continue with: dpzo resume {storage.folder}"
    assert err.endswith(f"\n{line}\n")
    assert below
    assert not psutil.wait_procs(below, timeout=5)[1]
    assert find_existing(storage.folder).state() == "interrupted"


class InterruptedOnce(SilentMonitor):
    """A person presses Ctrl-C after the first score."""

    done = False

    def on_score(self, trial) -> None:
        if not self.done:
            self.done = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Tune leaves files open
def test_ctrl_c_in_a_program_leaves_a_sweep_that_goes_on(sweep):
    with pytest.raises(KeyboardInterrupt):
        sweep.run(InterruptedOnce())
    assert not ray.is_initialized()
    assert find_existing(storage_of(sweep.config).folder).state() == "interrupted"
    result = sweep.run()
    assert [(trial.state, trial.steps) for trial in result.trials] == [("complete", NUM_STEPS)] * NUM_TRIALS
    assert result.best is not None
    gc.collect()
