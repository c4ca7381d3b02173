"""Trials that fit into the steps of a sweep, with Tune's part played by a loop."""

import contextlib
import pickle

import pytest
from ray.tune.search import Searcher

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.results import write_config
from orchestrator.sweep import driver
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.lane import Lane
from orchestrator.sweep.room import TokenRoom
from orchestrator.sweep.study import open_search
from orchestrator.sweep.trial import SweepContext
from tests.support.quadratic import Quadratic, example
from trainers.mechanism.release_log import Stopped
from trainers.run.context import Workspace

FIT = [
    "search.num_trials=fit",
    "search.caps={steps: 21}",
    "method.num_steps=4",
    "score.times=2",
    "search.sampler=random",
]


@pytest.fixture
def plan(settings, monkeypatch):
    workspace = Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], Quadratic())
    for place in ("orchestrator.sweep.trial", "orchestrator.sweep.preparation", "orchestrator.sweep.rebuild"):
        monkeypatch.setattr(f"{place}.open_workspace", lambda config, **_: workspace)
    monkeypatch.setattr(driver, "ray_session", lambda *_: contextlib.nullcontext())
    made = make_plan(load_sweep(settings, FIT))
    storage_of(made.config).model_folder.mkdir(parents=True)
    return made


class Tune:
    """Runs trials one after the other, and stops every second one at its first score, as ASHA would."""

    def __init__(self, plan):
        self.plan, config = plan, with_absolute_paths(plan.config)
        self.storage = storage_of(config)
        reserve_plan(plan, self.storage)
        write_config(self.storage, config)
        self.search = open_search(
            config.search, 5, config.name, self.storage.database_url, room=TokenRoom.of(plan, self.storage)
        )
        self.lane, self.results = Lane.__new__(Lane), []

    def take_trial(self, number, *, stops=True) -> bool:
        values = self.search.suggest(f"tune-{number}")
        if values == Searcher.FINISHED:
            return False
        if number == 0:
            self.lane.setup(values, SweepContext(self.plan, self.storage, threads=1))
        else:
            self.lane.reset_config(values)
        for iteration in (1, 2):
            result = {**self.lane.step(), "training_iteration": iteration, "score": 0.5}
            if result["finished"] or (stops and number % 2):
                break
            self.search.on_trial_result(f"tune-{number}", result)
        self.search.on_trial_complete(f"tune-{number}", result)
        self.results.append(result["steps"])
        return True

    def drawn(self):
        return Ledger(self.storage.database_url).drawn(self.storage.name, "train_step")


def test_trials_go_on_until_no_first_rung_fits(plan):
    tune = Tune(plan)
    while tune.take_trial(len(tune.results)):
        pass
    assert tune.results == [4, 2, 4, 2, 4, 2, 3]  # the last one ends short
    assert tune.drawn() == 21
    result = run_sweep(plan)
    assert len(result.trials) == 7
    assert result.statement.epsilon == plan.epsilon
    assert result.statement.caps == {"train_step": 21}


def test_a_sweep_with_steps_left_has_not_ended(plan, monkeypatch):
    tune = Tune(plan)
    for number in range(3):
        assert tune.take_trial(number)
    asked = []
    monkeypatch.setattr(driver, "_run_trials", lambda context, search, board, number: asked.append(number))
    with pytest.raises(Stopped, match="the search was interrupted"):
        run_sweep(plan)
    assert asked == [10 - 3]  # 21 steps hold ten first rungs


def test_a_trial_waits_while_those_that_run_may_need_the_last_steps(plan):
    tune = Tune(plan)
    for number in range(4):
        tune.take_trial(number, stops=False)
    assert tune.drawn() == 16
    assert isinstance(tune.search.suggest("a"), dict)
    assert isinstance(tune.search.suggest("b"), dict)
    assert tune.search.suggest("c") is None  # 5 steps left, two first rungs may take 4 of them
    for name in ("a", "b"):
        tune.search.on_trial_complete(name, error=True)
    assert isinstance(tune.search.suggest("c"), dict)


def test_a_room_can_be_saved_with_the_search(plan):
    room = TokenRoom.of(plan, storage_of(plan.config))
    assert pickle.loads(pickle.dumps(room)) == room
