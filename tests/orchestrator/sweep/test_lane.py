import math

import numpy as np
import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.cluster.nodes import UnfitNode, driver_mark
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import Storage, storage_of
from orchestrator.sweep import trial as module
from orchestrator.sweep.lane import Lane, lane_resources
from orchestrator.sweep.trial import SweepContext
from tests.support.quadratic import Quadratic, example
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.context import Workspace
from trainers.run.divergence import Diverged


@pytest.fixture
def evaluator():
    return Quadratic()


@pytest.fixture
def begin(settings, evaluator, monkeypatch):
    """Reserve the small sweep and begin a trial on a lane whose model is the quadratic one, without Tune."""
    workspace = Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], evaluator)
    monkeypatch.setattr(module, "open_workspace", lambda config, **_: workspace)
    begun = []

    def begin(number, *overrides):
        plan = make_plan(load_sweep(settings, overrides))
        storage = storage_of(plan.config)
        ledger = reserve_plan(plan, storage).ledger
        lane = Lane.__new__(Lane)  # Tune's own __init__ asks for a cluster
        lane.setup(trial(number), SweepContext(plan, storage, threads=1))
        begun.append(lane)
        return lane, storage, ledger

    yield begin
    for lane in begun:
        lane.cleanup()


def trial(number, rate=1e-3) -> dict:
    return {"number": number, "method.learning_rate": rate}


def test_a_lane_trains_from_score_to_score(begin):
    lane, _, ledger = begin(0)
    results = [lane.step(), lane.step()]
    assert [result["steps"] for result in results] == [2, 4]
    assert [result["steps_charged"] for result in results] == [2, 4]
    assert [(result["finished"], result["done"]) for result in results] == [(False, False), (True, True)]
    assert all(0 <= result["score"] <= 1 for result in results)
    plan = lane._runner._context.plan
    assert [result["epsilon"] for result in results] == [
        plan.epsilon_after(lane._runner.trial.run.config, 2),
        plan.trial_epsilon,
    ]
    assert all(result["sweep_epsilon"] == plan.epsilon for result in results)
    assert ledger.drawn("test", "train_step", "trial-000") == 4


def test_a_lane_on_a_node_without_the_storage_of_the_driver_reads_nothing(settings, tmp_path, monkeypatch):
    plan = make_plan(load_sweep(settings))
    storage, elsewhere = storage_of(plan.config), Storage(tmp_path / "elsewhere", "test")
    monkeypatch.setattr(module, "open_workspace", lambda *_, **__: pytest.fail("private rows were read"))
    with storage.lock(), elsewhere.lock():
        context = SweepContext(plan, storage, threads=1, mark=driver_mark(elsewhere))
        with pytest.raises(UnfitNode, match="is not the driver's folder"):
            Lane.__new__(Lane).setup(trial(0), context)


def test_what_tune_reserves_for_a_lane(settings):
    settings["resources"] = {"gpus_per_worker": 0.5, "accelerator": "L4", "labels": {"zone": "a"}}
    settings["performance"] = {"device": "cuda"}
    lane = lane_resources(load_sweep(settings), threads=3)
    assert lane.bundles == [{"CPU": 3, "GPU": 0.5, "accelerator_type:L4": 0.001}]
    assert lane._kwargs == {"bundle_label_selector": [{"zone": "a"}]}
    settings["resources"]["workers"] = 2
    assert lane_resources(load_sweep(settings), threads=3).bundles == [{"node:__internal_head__": 0.001}]


def test_a_trial_that_diverged_ends_without_a_score_and_the_next_one_begins(begin, monkeypatch):
    def diverged(evaluator, name, steps, ranks, *public):
        raise Diverged(f"after {steps} steps")

    monkeypatch.setattr("trainers.run.zeroth_order.require_alive", diverged)
    lane, _, ledger = begin(0, "resources.check_steps=3")
    lane.step()
    result = lane.step()
    assert (result["steps"], result["steps_charged"]) == (3, 3)
    assert (math.isnan(result["score"]), result["finished"], result["done"]) == (True, True, True)
    monkeypatch.undo()
    assert ledger.drawn("test", "train_step", "trial-000") == 3


def test_the_next_trial_begins_at_the_base_weights_with_its_own_settings(begin, evaluator):
    lane, storage, ledger = begin(0)
    lane.step()
    assert np.abs(evaluator.theta).max() > 0
    assert lane.reset_config(trial(1, rate=5e-3))
    assert np.abs(evaluator.theta).max() == 0
    lane.step()
    header = (storage.trial_folder(1) / LOG_NAME).read_text().splitlines()[0]
    assert '"method.learning_rate":0.005' in header
    assert [ledger.drawn("test", "train_step", f"trial-00{number}") for number in (0, 1)] == [2, 2]


def test_a_trial_that_starts_again_repeats_its_scores_and_releases_nothing_twice(begin, evaluator):
    first, _, ledger = begin(0)
    score = first.step()["score"]
    theta = evaluator.theta.copy()
    first.cleanup()  # the actor dies
    again, _, _ = begin(0)
    result = again.step()
    assert (result["score"], result["steps"], result["finished"]) == (score, 2, False)
    assert np.array_equal(evaluator.theta, theta)
    assert again.step()["steps"] == 4
    assert ledger.drawn("test", "train_step") == 4


def test_a_finished_trial_lets_go_of_its_log(begin):
    lane, _, _ = begin(0, "score.times=1")
    assert lane.step()["finished"]
    begin(0, "score.times=1")  # opens the same log, as whoever exports the best model


def test_a_trial_whose_tokens_are_gone_is_finished_early(begin):
    lane, _, ledger = begin(0)
    for step in range(3 * 4 - 3):
        ledger.draw("test", "train_step", "others", step)
    first, second = lane.step(), lane.step()
    assert [(first["steps"], first["finished"]), (second["steps"], second["finished"])] == [(2, False), (3, True)]


def test_a_lane_without_a_score_reports_no_number(begin, monkeypatch):
    lane, _, _ = begin(0)
    monkeypatch.setattr(lane._runner.trial.run, "_score", lambda index: None)
    assert math.isnan(lane.step()["score"])


def test_a_value_that_no_trial_may_have_is_refused(begin, settings):
    lane, _, _ = begin(0)
    with pytest.raises(ValueError, match=r"privacy\.noise_multiplier: fixed before the sweep"):
        lane.reset_config({"number": 1, "privacy.noise_multiplier": 0.1})


def test_rays_dashboard_names_a_lane_by_its_sweep(begin):
    assert repr(begin(2)[0]) == "Lane(test, 2)"


def test_of_one_winner_the_name_of_a_lane_tells_no_number(begin):
    assert repr(begin(2, "search.release=best", "search.sampler=random", "search.seed=null")[0]) == "Lane(test)"


def test_a_checkpoint_holds_nothing(begin, tmp_path):
    lane, _, _ = begin(0)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    lane.save_checkpoint(str(folder))
    lane.load_checkpoint(str(folder))
    assert not list(folder.iterdir())


def test_a_lane_that_ends_gives_its_engine_back(begin, evaluator):
    lane, _, _ = begin(0)
    assert not evaluator.closed
    lane.cleanup()
    assert evaluator.closed
