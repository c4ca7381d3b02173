from __future__ import annotations

import pytest

from orchestrator.cluster.demand import Demand, demand_of, require_resources
from tests.support.cluster import node
from tests.support.runs import run_config

L4 = {"GPU": 2, "accelerator_type:L4": 1}


@pytest.mark.parametrize(
    ("demand", "nodes"),
    [
        (Demand(2, 1), [node("a", CPU=2)]),
        (Demand(4, 2), [node("a", CPU=5), node("b", CPU=4)]),
        (Demand(4, 1, gpus=0.5), [node("head", CPU=8), node("a", CPU=8, GPU=2)]),
        (Demand(3, 0.1), [node("a", CPU=0.3)]),
    ],
)
def test_what_fits_passes(demand, nodes):
    require_resources(demand, nodes)


@pytest.mark.parametrize(
    ("demand", "nodes"),
    [
        (Demand(3, 1), [node("a", CPU=2)]),
        (Demand(3, 2), [node("a", CPU=3), node("b", CPU=3)]),  # six in all, and no node has room for two
        (Demand(1, 1, gpus=1), [node("head", CPU=8)]),
        (Demand(2, 1), [node("a", CPU=1), node("b", alive=False, CPU=8)]),
    ],
)
def test_what_would_wait_for_ever_is_refused(demand, nodes):
    with pytest.raises(ValueError, match="at once; the Ray cluster has room for"):
        require_resources(demand, nodes)


def test_the_refusal_shows_its_arithmetic():
    demand = Demand(8, 2, gpus=1, what="2 trials at once × 4 workers")
    with pytest.raises(ValueError, match="trials") as refusal:
        require_resources(demand, [node("head", CPU=4), node("big", CPU=16, GPU=6)])
    assert str(refusal.value) == (
        "2 trials at once × 4 workers want 8 × (2 CPUs and 1 GPUs) at once; the Ray cluster has room for 6 (head: 4 "
        "CPUs, 0 GPUs; big: 16 CPUs, 6 GPUs). Lower search.concurrent_trials, resources.workers or "
        "performance.num_threads, or add nodes."
    )


@pytest.mark.parametrize(
    ("nodes", "room"),
    [
        ([node("a", CPU=8, **L4)], 2),
        ([node("a", CPU=8, GPU=2, **{"accelerator_type:T4": 1})], 0),
        ([node("a", CPU=8, GPU=2), node("b", CPU=8, **L4), node("c", CPU=8, **L4)], 4),
    ],
)
def test_gpus_of_another_type_are_no_room(nodes, room):
    assert Demand(1, 1, gpus=1, accelerator="L4").room(nodes) == room


@pytest.mark.parametrize(
    ("selector", "hosts"),
    [
        ("spot", "s"),
        ("!spot", "od"),
        ("in(spot, on-demand)", "so"),
        ("in(spot,none)", "s"),
        ("!in(spot, on-demand)", "d"),
        ("none", ""),
    ],
)
def test_nodes_are_chosen_by_label_as_ray_chooses_them(selector, hosts):
    nodes = [node("s", labels={"market": "spot"}), node("o", labels={"market": "on-demand"}), node("d")]
    demand = Demand(1, 1, labels={"market": selector})
    assert "".join(one["NodeID"] for one in nodes if demand.room([{**one, "Resources": {"CPU": 1}}])) == hosts


def test_the_refusal_names_type_and_labels():
    demand = Demand(1, 1, gpus=1, accelerator="H100", labels={"zone": "a"})
    nodes = [node("head", CPU=4), node("big", labels={"zone": "b"}, CPU=8, **L4)]
    with pytest.raises(ValueError, match="room") as refusal:
        require_resources(demand, nodes)
    assert str(refusal.value) == (
        "1 trial at once want 1 × (1 CPUs and 1 GPUs of type H100, on nodes labelled zone: a) at once; the Ray cluster "
        "has room for 0 (head: 4 CPUs, 0 GPUs; big: 8 CPUs, 2 GPUs, L4, zone: b). Change search.concurrent_trials, "
        "resources.workers, performance.num_threads, resources.accelerator or resources.labels, or add nodes."
    )


def test_a_cluster_without_workers_has_no_room():
    with pytest.raises(ValueError, match=r"has room for 0 \(head: 0 CPUs\)\. Lower .*, or add nodes\."):
        require_resources(Demand(1, 1), [node("head")])


def test_a_label_that_ray_does_not_take_is_refused():
    with pytest.raises(ValueError, match=r"resources\.labels: Invalid label"):
        require_resources(Demand(1, 1, labels={"zone": "a b"}), [node("a", CPU=1)])


def test_a_run_asks_for_what_its_resources_say():
    demand = demand_of(
        run_config(
            resources__accelerator="L4",
            resources__gpus_per_worker=1,
            resources__labels={"zone": "a"},
            performance__device="cuda",
        )
    )
    assert demand.resources_per_worker == {"CPU": 1, "GPU": 1, "accelerator_type:L4": 0.001}
    assert demand.task_options == {
        "num_cpus": 1,
        "num_gpus": 1,
        "resources": {"accelerator_type:L4": 0.001},
        "label_selector": {"zone": "a"},
    }
