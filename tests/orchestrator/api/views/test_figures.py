"""Every figure is drawn of any sweep: of many trials, of trials without a score, of one winner, without privacy."""

import math

import matplotlib.colors
import pytest

from orchestrator.api.views.figures.catalogue import FIGURES, draw
from orchestrator.api.views.figures.style import BEST
from orchestrator.api.views.figures.trials import Trials, trials_of
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import storage_of
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.driver import run_sweep
from tests.support.inline import Killed, without_cluster

SPACE = {
    "method.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "method.clip_norm": {"low": 1.0, "high": 20.0},
    "method.direction": {"choices": ["rademacher", "gaussian"]},
}


def row(number, score, state="complete", **changes):
    values = {"method.learning_rate": 1e-3 * (number + 1), "method.clip_norm": 2.0, "method.direction": "gaussian"}
    scores = [] if score is None else [score / 2, score]
    return TrialRow(number, values, state, 4, 4, scores, changes.pop("epsilon", 0.7), 4, **changes)


ROWS = (row(0, 0.5), row(1, 0.8), row(2, 0.2, "stopped early"), row(3, None, "failed"), row(4, 0.6), row(5, 0.7))


@pytest.fixture
def trials_with(settings):
    settings["search"]["space"] = SPACE
    config = load_sweep(settings)

    def made(*rows, epsilon=3.0):
        return Trials(config, rows, epsilon, None if math.isinf(epsilon) else 1e-5, lambda: study_of(config, rows))

    return made


def study_of(config, rows):
    import optuna

    from search_spaces.space import define_by_run

    study = optuna.create_study(direction="maximize")
    for row in rows:
        study.enqueue_trial(dict(row.values))
        trial = study.ask()
        define_by_run(config.search.parameters)(trial)
        study.tell(trial, row.score, None if row.score is not None else optuna.trial.TrialState.FAIL)
    return study


def drawn(figure, path):
    figure.savefig(path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "rows", [ROWS, (row(0, None, "running"),), (row(0, 0.9),), ()], ids=["many", "new", "one", "none"]
)
@pytest.mark.parametrize("epsilon", [3.0, math.inf])
def test_every_figure_is_drawn_of_any_sweep(trials_with, rows, epsilon, tmp_path):
    for kind in FIGURES:
        assert "<svg" in drawn(draw(kind, trials_with(*rows, epsilon=epsilon)), tmp_path / f"{kind}.svg")


def test_a_figure_that_does_not_exist_is_named_with_those_that_do(trials_with):
    with pytest.raises(ValueError, match=r"plot: expected one of history, scores, .*; got 'losses'"):
        draw("losses", trials_with())


def test_the_best_trial_stands_out_and_each_line_is_at_its_steps(trials_with):
    (panel,) = draw("scores", trials_with(*ROWS)).axes
    lines = {tuple(line.get_ydata()): line for line in panel.lines}
    assert list(lines[0.4, 0.8].get_xdata()) == [2, 4]
    colors = {matplotlib.colors.to_hex(line.get_color()) for scores, line in lines.items() if scores != (0.4, 0.8)}
    assert lines[0.4, 0.8].get_color() == BEST
    assert BEST not in colors


def test_the_line_of_epsilon_is_that_of_the_sweep(trials_with):
    (panel,) = draw("epsilon", trials_with(*ROWS)).axes
    assert [bar.get_height() for bar in panel.patches] == [0.7] * len(ROWS)
    assert panel.lines[0].get_ydata()[0] == 3.0


def test_an_axis_of_parallel_coordinates_is_logarithmic_where_the_search_is(trials_with):
    rows = [row(0, 0.1), row(9, 0.5), row(99, 0.9)]  # η = 0.001, 0.01, 0.1
    (panel,) = draw("parallel", trials_with(*rows)).axes
    heights = [line.get_ydata()[2] for line in panel.lines if len(line.get_ydata()) == 4]
    assert heights == pytest.approx([0.0, 0.5, 1.0])


def test_the_trials_of_a_sweep_are_the_same_before_and_after_its_end(settings, monkeypatch):
    next_sweep = without_cluster(monkeypatch)
    plan = make_plan(load_sweep(settings))
    next_sweep(kill_after=5)
    with pytest.raises(Killed):
        run_sweep(plan)
    existing = find_existing(storage_of(plan.config).folder)
    before = trials_of(existing)
    assert [(row.number, row.state, len(row.scores)) for row in before.rows] == [
        (0, "complete", 2),
        (1, "complete", 2),
        (2, "interrupted", 0),
    ]
    next_sweep()
    result = run_sweep(plan)
    after = trials_of(existing)
    assert [row.scores for row in after.rows[:2]] == [row.scores for row in before.rows[:2]]
    assert list(after.rows) == result.trials
    assert after.epsilon == before.epsilon == plan.epsilon
    assert [trial.value for trial in after.load_study().trials] == [row.score for row in result.trials]
