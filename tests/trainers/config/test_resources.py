import pytest

from orchestrator.storage.paths import storage_of
from tests.support.runs import plan_of, run_config
from trainers.config import ResourcesConfig


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"workers": 3, "max_workers": 2}, "max_workers 2 is below workers 3"),
        ({"workers": 4, "direction_workers": 3}, "workers 4 is no multiple of direction_workers 3"),
        ({"workers": 4, "direction_workers": 2, "max_workers": 8}, "needs a fixed number of groups"),
        ({"workers": 4, "direction_workers": 2, "parallel": "directions"}, "leave direction_workers out"),
        ({"accelerator": "L4"}, "accelerator L4 is a type of GPU: give gpus_per_worker too"),
        ({"gpus_per_worker": -1}, "greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        ResourcesConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "distributed", "group_sizes"),
    [
        ({}, False, {1: 1}),
        ({"workers": 4}, True, {4: 1}),
        ({"workers": 4, "parallel": "directions"}, True, {4: 4}),
        ({"workers": 4, "direction_workers": 2}, True, {4: 2}),
        ({"max_workers": 3, "parallel": "directions"}, True, {1: 1, 2: 2, 3: 3}),
    ],
)
def test_how_workers_share(settings, distributed, group_sizes):
    resources = ResourcesConfig.model_validate(settings)
    assert resources.is_distributed == distributed
    assert {workers: resources.group_size(workers) for workers in group_sizes} == group_sizes


def test_a_first_order_run_takes_one_worker():
    changes = {"method__name": "dp-sgd", "method__num_directions": 1, "method__direction": "gaussian"}
    changes |= {"method__smoothing": 1e-3}
    run_config(**changes)
    with pytest.raises(ValueError, match="a first-order run takes one"):
        run_config(**changes, resources__workers=2)


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0), ("cpu", 0.5)])
def test_workers_on_gpus_have_a_share_of_one(device, gpus):
    with pytest.raises(ValueError, match="workers on GPUs need device cuda and a share of one each"):
        run_config(performance__device=device, resources__gpus_per_worker=gpus, resources__workers=2)


def test_workers_are_no_part_of_the_mechanism():
    many = {"resources__workers": 8, "resources__parallel": "directions", "resources__gpus_per_worker": 0.5}
    assert plan_of(run_config()) == plan_of(run_config(**many, performance__device="cuda"))


def test_workers_are_no_part_of_what_run_this_is(tmp_path):
    from orchestrator.storage.results import require_same_settings, write_config

    first, second = (run_config(**changes) for changes in ({}, {"resources__workers": 4, "resources__check_steps": 7}))
    storage = storage_of(first.model_copy(update={"storage_path": str(tmp_path)}))
    write_config(storage, first)
    require_same_settings(storage, second)
