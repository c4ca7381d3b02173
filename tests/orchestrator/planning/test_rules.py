"""From a configuration to its rule: units, laws of noise, scores and splits are in what is counted."""

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.planning.rules.menu import with_menu_entry
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.renyi_filter import RenyiFilter
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from tests.support.inline import Killed, without_cluster
from trainers.config.mechanism import mechanism_plan, score_plan

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")
LAPLACE = ("privacy.noise=laplace", "privacy.delta=0")
SPLIT = ("data.validation=null", "data.validation_share=0.25", "score.on=private", "score.noise_multiplier=5")
PRIVATE_SCORES = ("score.on=private", "score.num_examples=10")
USERS = ("data.user_column=user", "data.max_examples_per_user=2", "data.num_users=20", "privacy.expected_batch_size=4")
ENTRY = "{num_steps: 3, expected_batch_size: 5, noise_multiplier: 2}"


@pytest.fixture
def sweep(settings):
    return lambda *overrides: load_sweep(settings, overrides)


@pytest.fixture
def plan(settings):
    return lambda *overrides: make_plan(load_sweep(settings, overrides))


@pytest.mark.parametrize(
    ("overrides", "kind", "trials"),
    [
        ((), SweepCaps, 3),
        (BEST, BestOf, 3),
        (("search.menu=[" + ENTRY + "]", "privacy.noise_multiplier=null", "privacy.epsilon=8"), Menu, 3),
        (
            ("search.filter={order: 8, space: {method.num_steps: {low: 1, high: 4}}}", "privacy.epsilon=8"),
            RenyiFilter,
            3,
        ),
        (("search.tune_on=public.jsonl",), SweepCaps, 1),
    ],
)
def test_each_way_of_searching_has_its_rule(plan, overrides, kind, trials):
    made = plan(*overrides)
    assert (type(made.rule), made.num_trials) == (kind, 3)
    if kind is SweepCaps:
        assert made.caps.num_trials == trials
        assert made.rule.train_step.num_steps == trials * 4


def test_an_entry_of_a_menu_changes_rate_and_length_alone(sweep):
    config = sweep("search.menu=[" + ENTRY + "]", "privacy.noise_multiplier=null", "privacy.epsilon=8")
    changed = with_menu_entry(config, config.search.menu[0])
    assert (changed.method.num_steps, changed.privacy.expected_batch_size) == (3, 5)
    assert changed.method.model_copy(update={"num_steps": config.method.num_steps}) == config.method


def test_rates_are_of_users_where_users_are_the_unit(sweep):
    caps = planned_sweep(sweep(*USERS), 4.0, num_trials=1).caps()
    assert caps.train_step.sampling_prob == pytest.approx(4 / 20)


@pytest.mark.parametrize("overrides", [(), PRIVATE_SCORES, SPLIT, (*PRIVATE_SCORES, *LAPLACE), LAPLACE, USERS])
def test_what_is_counted_is_what_the_mechanism_draws(sweep, overrides):
    """σ, rate, law and number of coordinates of steps and scores, from the plans that really sample and add noise."""
    config = sweep(*overrides)
    caps = planned_sweep(config, 4.0, num_trials=3).caps()
    mechanism = mechanism_plan(config, 4.0)
    assert caps.train_step.law() | {} == {
        "noise": mechanism.noise,
        "noise_multiplier": mechanism.noise_multiplier,
        "sampling_prob": mechanism.sampling_prob,
    } | ({"num_coordinates": 2} if mechanism.noise == "laplace" else {})
    if config.score.on == "private":
        score = score_plan(config)
        assert caps.evaluation.noise_multiplier == score.noise_multiplier
        assert (caps.evaluation.noise, caps.evaluation.count) == (score.noise, 3 * 2)
    else:
        assert caps.evaluation is None


@pytest.mark.parametrize(
    ("overrides", "metric", "coordinates"),
    [
        (("score.metric=f1",), "confusion_matrix", 4),
        (("score.metric=loss", "score.loss_bound=3"), "clipped_mean_loss", 1),
        ((), "count", 1),
    ],
)
def test_noisy_scores_of_a_sweep_are_tokens_of_their_own(plan, monkeypatch, overrides, metric, coordinates):
    without_cluster(monkeypatch)
    made = plan(*PRIVATE_SCORES, "score.noise_multiplier=7", "privacy.spare_scores=3", *overrides)
    assert made.rule.evaluation.count == 3 * 2 + 3
    assert (made.rule.evaluation.metric, made.rule.evaluation.num_coordinates) == (metric, coordinates)
    result = run_sweep(made)
    ledger = Ledger(storage_of(made.config).database_url)
    assert {cap.kind: (cap.cap.count, cap.drawn) for cap in ledger.reservations() if cap.name == "test"} == {
        "evaluation": (9, 6),
        "train_step": (12, 12),
    }
    assert result.statement.caps == {"evaluation": 9, "train_step": 12}
    assert result.zero_shot is None  # it would be a score that nobody paid for
    assert all(len(row.scores) == 2 for row in result.trials)
    steps_alone = SweepCaps(train_step=made.rule.train_step)
    assert made.epsilon > steps_alone.epsilon(1e-5)


def test_a_spare_score_replaces_one_that_a_kill_cost(plan, monkeypatch):
    next_sweep = without_cluster(monkeypatch)
    made = plan(*PRIVATE_SCORES, "privacy.spare_scores=1", "search.num_trials=1")
    storage = storage_of(made.config)
    true = Ledger.draw

    def dies_after_a_score(self, name, kind, *args, **kwargs):
        true(self, name, kind, *args, **kwargs)
        if kind == "evaluation":
            raise Killed
        return 0

    monkeypatch.setattr(Ledger, "draw", dies_after_a_score)
    with pytest.raises(Killed):
        run_sweep(made)
    monkeypatch.setattr(Ledger, "draw", true)
    next_sweep()
    result = run_sweep(made)
    assert Ledger(storage.database_url).drawn("test", "evaluation") == 3
    assert len(result.best.scores) == 2
    assert result.statement.epsilon == made.epsilon


def test_pure_epsilon_is_the_sum_of_all_steps_and_scores(plan):
    made = plan(*LAPLACE, *PRIVATE_SCORES, "score.noise_multiplier=6", "privacy.noise_multiplier=3")
    from math import exp, log

    step = log(1 + made.rule.train_step.sampling_prob * (exp(1 / 3) - 1))
    assert made.epsilon == pytest.approx(12 * step + 6 * (1 / 6), rel=1e-6)
    statement = run_statement(made, reserve_plan(made, storage_of(made.config)))
    assert (statement.delta_here, statement.delta_total) == (0.0, 0.0)
    assert "at δ = 0" in statement.text()
    assert "Laplace noise of scale 3" in " ".join(statement.text().split())


def test_laplace_is_calibrated_to_pure_epsilon(plan):
    made = plan(*LAPLACE, "privacy.noise_multiplier=null", "privacy.epsilon=1")
    assert 0.999 < made.epsilon <= 1


def test_replacing_one_costs_more_than_adding_or_removing_one(plan):
    both = [plan("name=a"), plan("name=b", "privacy.adjacency=replace-one")]
    assert both[1].epsilon > 1.5 * both[0].epsilon
    half = plan("name=c", "privacy.noise_multiplier=2")  # at least twice the shift at the same noise
    assert both[1].epsilon == pytest.approx(half.epsilon, rel=0.4)
    storage = storage_of(both[1].config)
    statement = run_statement(both[1], reserve_plan(both[1], storage))
    assert statement.adjacency == "replace-one"
    assert statement.epsilon == both[1].epsilon


def test_disjoint_records_cost_the_larger_of_the_two(plan):
    made = plan(*SPLIT)
    steps = SweepCaps(train_step=made.rule.train_step)
    scores = made.rule.evaluation
    together = made.rule.model_copy(update={"disjoint": False})
    alone = max(steps.epsilon(1e-5), _scores_alone(scores))
    assert made.rule.disjoint
    assert made.epsilon == pytest.approx(alone, abs=1e-4)
    assert together.epsilon(1e-5) > made.epsilon + 0.1
    assert made.rule.train_step.sampling_prob == pytest.approx(8 / 30)  # of the three quarters that train


def _scores_alone(scores) -> float:
    """ε of a Gaussian mechanism composed, in closed form by bisection."""
    from math import erf, exp, sqrt

    def delta(epsilon: float) -> float:
        shift = sqrt(scores.count) / scores.noise_multiplier

        def phi(x: float) -> float:
            return 0.5 * (1 + erf(x / sqrt(2)))

        return phi(shift / 2 - epsilon / shift) - exp(epsilon) * phi(-shift / 2 - epsilon / shift)

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta(middle) > 1e-5 else (low, middle)
    return high


def test_tokens_for_disjoint_records_are_left_to_nobody(plan):
    first = plan(*SPLIT, "name=first")
    ledger = reserve_plan(first, storage_of(first.config)).ledger
    ledger.close("first")
    second = plan(*SPLIT, "name=second")
    statement = run_statement(second, reserve_plan(second, storage_of(second.config)))
    assert ledger.terms_of("second").reused == {}
    assert statement.epsilon_total == pytest.approx(2 * first.epsilon)
    ledger.close("second")
    same = plan("name=same", f"privacy.expected_batch_size={8 / 30 * 40!r}")  # on all records, at the very same rate
    assert same.rule.train_step.law() == first.rule.train_step.law()
    reserve_plan(same, storage_of(same.config))
    assert ledger.terms_of("same").reused == {}


def test_a_trial_draws_the_law_that_was_reserved(plan):
    made = plan(*SPLIT, *LAPLACE)
    trial = made.trial({"method.learning_rate": 1e-3})
    tokens = made.rule.tokens()
    for draw in made.trial_draws(trial).values():
        assert draw.law == dict(tokens[draw.kind].parameters)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ((*BEST, "search.num_trials=40"), r"search\.num_trials 40 costs ε = .* search\.num_trials \d+ would fit"),
        (
            ("search.menu=[{num_steps: 300, expected_batch_size: 5, noise_multiplier: 1}]",),
            "not even one trial would fit",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(settings, overrides, line):
    if "menu" in overrides[0]:
        overrides = (*overrides, "privacy.noise_multiplier=null")
    with pytest.raises(BudgetExceeded, match=line):
        make_plan(load_sweep(settings, [*overrides, "privacy.epsilon=0.9"]))


def test_a_single_run_has_no_search_to_count(settings):
    config = load_run(settings)
    made = make_plan(config)
    assert (made.caps.num_trials, made.rule.train_step.num_steps) == (1, 4)
