"""What else may happen to a sweep on a cluster, on machines made of namespaces; by hand: pytest -m namespaces_all.

Each is a sweep of its own on one cluster, in this order; the last ones take it down. Half an hour on two busy cores.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.clusters.conftest import Cluster

pytestmark = pytest.mark.namespaces_all
STEPS = 40
DOCTOR = "cd dpzo && dpzo doctor sweep.json --cluster"
LONG = (f"method.num_steps={STEPS}", "privacy.spare_steps=60")


def begun(cluster: Cluster, name: str) -> subprocess.Popen[str]:
    """Start a sweep from the laptop, and return the process when a trial takes its steps."""
    process = cluster.start_submit(f"name={name}", *LONG)
    logs = cluster.machines.shared / "runs" / name / "trials"
    cluster.wait(lambda: list(logs.glob("*/*")), 180, f"no trial of {name} begins")
    return process


def went_on(cluster: Cluster, name: str) -> None:
    """Give the same command again, and check that the sweep ends whole: every trial once, every step charged."""
    again = cluster.submit(f"name={name}", *LONG, timeout_s=600)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("PRIVACY STATEMENT") == 1
    trials = cluster.result(name)["trials"]
    assert [(trial["state"], trial["steps"]) for trial in trials] == [("complete", STEPS)] * 6
    assert 6 * STEPS <= sum(trial["steps_charged"] for trial in trials) <= 6 * STEPS + 60


def refused(cluster: Cluster, name: str, *overrides: str) -> str:
    """Submit what must be refused, and return the last line that it says."""
    said = cluster.laptop(f"PYTHONUNBUFFERED=1 {cluster.submit_command(f'name={name}', *overrides)} 2>/dev/null", 240)
    assert said.returncode == 1, said.stdout
    assert not (cluster.machines.shared / "runs" / name / "config.json").exists()  # written when caps are reserved
    return said.stdout.removesuffix("\x1b[0m").strip().splitlines()[-1]  # Ray's launcher leaves its colours


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("budget.ledger=null", "a SQLite ledger counts correctly on one machine only"),
        ("storage_path=/root/runs", "is missing, or is not the driver's folder"),
        ("search.concurrent_trials=8", "8 trials at once want 8 × (1 CPUs) at once; the Ray cluster has room for 4"),
        ("resources.gpus_per_worker=1", "has room for 0"),
        ("search.num_trial=3", "search.num_trial"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_last_line(cluster: Cluster, override, line):
    assert line in refused(cluster, "unfit", override)


def test_another_token_is_refused(cluster: Cluster):
    cluster.head("cp ~/.ray/auth_token ~/kept && echo wrong > ~/.ray/auth_token")
    try:
        assert "token" in refused(cluster, "stranger")
    finally:
        cluster.head("mv ~/kept ~/.ray/auth_token")


def test_the_doctor_sees_every_node(cluster: Cluster):
    said = cluster.head(DOCTOR)
    assert said.returncode == 0, said.stdout
    assert all(f"node {name}" in said.stdout for name in ("head", "worker1", "worker2"))
    assert "room for 4, 4 of it free now" in " ".join(said.stdout.split())


def test_another_dpzo_on_a_worker_is_refused(cluster: Cluster):
    """Ray lets workers import from the folder in which the driver runs: the checkout, which `ray up` copied."""
    file = "~/dpzo/" + "orchestrator/config/version.py"
    assert cluster.machines.run("worker2", f"cp {file} kept && echo '# changed' >> {file}").returncode == 0
    try:
        assert "its dpzo 0.1.0 has other files than the driver's" in refused(cluster, "changed")
        assert cluster.head(DOCTOR).returncode == 1
    finally:
        cluster.machines.run("worker2", f"cp kept {file}")


def test_a_job_that_was_stopped_goes_on(cluster: Cluster):
    process = begun(cluster, "stopped")
    job = cluster.head("ray job list | grep -o 'stopped-[0-9-]*' | head -1").stdout.strip()
    assert cluster.head(f"ray job stop {job}").returncode == 0
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    went_on(cluster, "stopped")


@pytest.mark.parametrize("signal", ["INT", "TERM", "KILL"])
def test_a_driver_that_was_ended_goes_on(cluster: Cluster, signal):
    name = f"ended-{signal.lower()}"
    process = begun(cluster, name)
    ended = cluster.head(f"pkill -{signal} -x dpzo")
    assert ended.returncode == 0, cluster.machines.run("head", "ps -eo pid,comm,args | cut -c1-150").stdout
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    went_on(cluster, name)


def test_ctrl_c_leaves_the_sweep_at_work(cluster: Cluster):
    process = begun(cluster, "followed")
    cluster.head("pkill -INT -f '[r]ay_submit'")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "continues. The same command follows it again" in said
    went_on(cluster, "followed")


def test_a_worker_that_lost_all_of_ray_comes_back(cluster: Cluster):
    process = begun(cluster, "worker")
    cluster.kill_ray("worker1")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    went_on(cluster, "worker")
    cluster.wait(lambda: cluster.has_ray("worker1"), 300, "no Ray on worker1")


def test_without_workers_a_sweep_is_refused(cluster: Cluster):
    cluster.kill_ray("worker1")
    cluster.kill_ray("worker2")
    assert "has room for 0" in refused(cluster, "nobody")
    for worker in ("worker1", "worker2"):
        cluster.wait(lambda name=worker: cluster.has_ray(name), 300, f"no Ray on {worker}")


def test_after_a_lost_head_the_sweep_goes_on(cluster: Cluster):
    process = begun(cluster, "head")
    cluster.kill_ray("head")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    cluster.up()
    cluster.wait(lambda: cluster.head(DOCTOR).returncode == 0, 300, "not all nodes are back")
    went_on(cluster, "head")


def test_from_a_checkout_alone(cluster: Cluster):
    """The checkout as a job's working folder, on nodes without dpzo; and no path in that folder."""
    for name in ("head", "worker1", "worker2"):
        assert cluster.machines.run(name, "python -m pip uninstall -qy dpzo").returncode == 0
    run = "python -m orchestrator sweep sweep.json --set name=checkout"
    said = cluster.head(f"ray job submit --working-dir ~/dpzo -- {run} --set storage_path=runs", 300)
    assert said.returncode == 1, said.stdout
    assert "lies in the working folder of a Ray job" in said.stdout
    said = cluster.head(f"ray job submit --working-dir ~/dpzo -- {run}", 300)
    assert said.returncode == 0, said.stdout
    assert "PRIVACY STATEMENT" in said.stdout


def test_on_slurm(cluster: Cluster):
    """The script for Slurm, with stand-ins for its commands: srun by ssh to each machine."""
    cluster.down()
    for name in ("head", "worker1", "worker2"):
        cluster.wait(lambda name=name: not cluster.has_ray(name), 120, f"Ray is still on {name}")
        wheel = "python -m pip install -q --no-deps --force-reinstall ~/dpzo/dist/dpzo-*.whl"
        assert cluster.machines.run(name, f"{wheel} && ln -sfn ~/venv ~/dpzo/.venv").returncode == 0
    ssh = "ssh -i ~/ray_bootstrap_key.pem -o StrictHostKeyChecking=no"
    srun = f"""#!/bin/bash
for machine in head worker1 worker2; do
  passed="$(export -p | grep RAY_ | tr '\\n' ';') $(printf '%q ' "$@")"
  {ssh} $machine "cd dpzo; . .venv/bin/activate; $passed" & jobs+=($!)
done
wait "${{jobs[0]}}"
"""
    for name, text in {"srun": srun, "scontrol": "#!/bin/bash\nprintf 'head\\nworker1\\nworker2\\n'\n"}.items():
        program = cluster.machines.root("head") / "dpzo" / name
        program.write_text(text)
        program.chmod(0o755)
    slurm = "PATH=$PWD:$PATH SLURM_JOB_NODELIST=all SLURM_NNODES=3 SLURM_JOB_ID=7 PGHOST=$PGHOST"
    said = cluster.head(
        f"unset RAY_ADDRESS; cd dpzo; {slurm} bash examples/clusters/slurm.sbatch sweep.json --set name=slurm", 400
    )
    assert said.returncode == 0, said.stdout
    assert said.stdout.count("PRIVACY STATEMENT") == 1
    for name in ("head", "worker1", "worker2"):
        cluster.wait(lambda name=name: not cluster.has_ray(name), 120, f"Ray is still on {name}")
