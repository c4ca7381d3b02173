"""A sweep from a laptop on a cluster of machines made of namespaces, with examples/clusters/local.yaml as it stands."""

from __future__ import annotations

from tests.clusters.conftest import Cluster

STATEMENT = "PRIVACY STATEMENT"


def test_a_sweep_outlives_its_connection_and_nothing_outlives_the_cluster(cluster: Cluster):
    first = cluster.start_submit()
    cluster.wait(lambda: (cluster.machines.shared / "runs" / "test").exists(), 120, "the sweep does not begin")

    other = cluster.submit("search.num_trials=5")
    assert other.returncode == 1, other.stdout
    assert "Error: 'test' is at work with other settings" in other.stdout

    trials = cluster.machines.shared / "runs" / "test" / "trials"
    cluster.wait(lambda: list(trials.glob("*/*")), 120, "no trial begins")
    cluster.machines.kill_all("laptop")
    said, _ = first.communicate(timeout=30)
    assert "is submitted" in said
    assert STATEMENT not in said

    again = cluster.submit()
    assert again.returncode == 0, again.stdout
    assert "is there: following it" in again.stdout
    assert again.stdout.count(STATEMENT) == 1
    result = cluster.result("test")
    assert [trial["state"] for trial in result["trials"]] == ["complete"] * 6
    assert sum(trial["steps_charged"] for trial in result["trials"]) == 6 * 12

    cluster.down()
    for name in ("head", "worker1", "worker2"):
        cluster.wait(lambda name=name: not cluster.has_ray(name), 90, f"Ray is still on {name}")
