"""A driver that is killed twice, under each sampler and scheduler: no trial is lost or doubled, states are right."""

import json

import optuna
import pytest

from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of
from orchestrator.storage.trials import STATE_OF_STUDY
from orchestrator.sweep.driver import run_sweep
from tests.support.inline import Killed, without_cluster
from trainers.mechanism.release_log import LOG_NAME
from trainers.run import zeroth_order
from trainers.run.divergence import Diverged

NUM_TRIALS, FAILING = 6, 4
SCORES = {0: 0.9, 1: 0.5, 2: 0.6, 3: 0.4, 5: 0.3}


@pytest.mark.parametrize(
    ("sampler", "stopping"),
    [
        ("random", "none"),
        ("tpe", "{kind: asha, factor: 2}"),
        ("gp", "{kind: hyperband, factor: 2, brackets: 1}"),
        ("qmc", "{kind: median, min_trials: 1}"),
        ("nsga2", "{kind: asha, factor: 2}"),
    ],
)
def test_a_killed_search_loses_and_doubles_no_trial(settings, monkeypatch, sampler, stopping):
    next_sweep = without_cluster(monkeypatch)
    overrides = [f"search.num_trials={NUM_TRIALS}", "score.times=4", "resources.check_steps=1"]
    plan = make_plan(
        load_sweep(settings, [*overrides, f"search.sampler={sampler}", f"search.early_stopping={stopping}"])
    )
    storage, check = storage_of(plan.config), zeroth_order.require_alive

    def dies_in_one_trial(*arguments):
        if (storage.trial_folder(FAILING)).exists() and not (storage.trial_folder(FAILING + 1)).exists():
            raise Diverged("the weights are not finite")
        check(*arguments)

    monkeypatch.setattr(zeroth_order, "require_alive", dies_in_one_trial)
    for kill_after in (3, 6):  # within a trial, and within another
        next_sweep(scores=SCORES, schedules=True, kill_after=kill_after)
        with pytest.raises(Killed):
            run_sweep(plan)
    next_sweep(scores=SCORES, schedules=True)
    result = run_sweep(plan)
    states = {row.number: row.state for row in result.trials}
    assert sorted(states) == list(range(NUM_TRIALS))
    assert states[0] == "complete"
    assert states[FAILING] == "failed"
    stopped = [number for number, state in states.items() if state == "stopped early"]
    assert bool(stopped) == (stopping != "none")
    study = optuna.load_study(study_name="test", storage=storage.database_url)
    assert {trial.number: STATE_OF_STUDY[trial.state.name] for trial in study.trials} == states
    with Ledger(storage.database_url, create=False) as ledger:
        drawn = {holder: number for (_, holder), number in ledger.drawn_by_holder("test").items()}
    for row in result.trials:
        lines = map(json.loads, (storage.trial_folder(row.number) / LOG_NAME).read_text().splitlines())
        types = [line.get("type") for line in lines]
        assert types.count("RESERVE") == drawn[f"trial-{row.number:03d}"] == row.steps_charged
        assert row.state != "complete" or types.count("RELEASE") == 4
    assert result.statement.tokens_drawn == {"train_step": sum(drawn.values())}
