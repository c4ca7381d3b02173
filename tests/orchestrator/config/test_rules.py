"""The ways in which a sweep may count its privacy, and the combinations that none of them counts."""

import pytest

from orchestrator.config.loading import load_sweep
from tests.orchestrator.config_files import run_lines, sweep_lines

ENTRIES = [
    "{num_steps: 10, expected_batch_size: 8, noise_multiplier: 2}",
    "{num_steps: 20, expected_batch_size: 8, epsilon: 1}",
]
MENU = f"search.menu=[{', '.join(ENTRIES)}]"
SIGMA, STEPS = "privacy.noise_multiplier: {low: 1, high: 4}", "method.num_steps: {choices: [10, 20]}"
FILTER = f"search.filter={{order: 8, space: {{{SIGMA}, {STEPS}}}}}"
BEST = ["search.release=best", "search.sampler=random", "search.seed=null"]


def test_release_best_takes_independent_draws(quickstart):
    config = load_sweep(quickstart, BEST)
    assert (config.search.release, config.search.secret_number.law) == ("best", "geometric")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            ["search.sampler=tpe"],
            "search.sampler: sampler 'tpe' is adaptive; release 'best' needs independent draws. Use sampler 'random', "
            "or release 'all'",
        ),
        (
            ["search.sampler=qmc"],
            "search.sampler: sampler 'qmc' spreads trials over the space; release 'best' needs independent draws. Use "
            "sampler 'random', or release 'all'",
        ),
        (
            ["search.early_stopping=asha", "score.times=3"],
            "search.early_stopping: 'asha' stops trials by the scores of others; release 'best' needs independent "
            "trials. Use early_stopping 'none', or release 'all'",
        ),
        (
            ["search.seed=3"],
            "search.seed: a public seed would tell which settings were drawn; release 'best' needs secret draws. Leave "
            "it out, or use release 'all'",
        ),
        ([MENU], "search: release: best and menu count privacy in different ways: choose one"),
    ],
)
def test_release_best_refuses_what_it_cannot_count(quickstart, changes, complaint):
    assert sweep_lines(quickstart, *BEST, *changes) == [complaint]


def test_a_menu_is_asked_for_by_the_number_of_its_entry(quickstart):
    search = load_sweep(quickstart, [MENU]).search
    assert search.parameters["menu"].choices == (0, 1)
    assert set(search.parameters) == {*search.space.root, "menu"}


def test_a_filter_searches_what_enters_the_event(quickstart):
    search = load_sweep(quickstart, [FILTER]).search
    assert set(search.parameters) == {*search.space.root, "privacy.noise_multiplier", "method.num_steps"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            ["search.menu=[{num_steps: 10, expected_batch_size: 8}]"],
            "search.menu.0: give noise_multiplier (σ), or epsilon (one trial's own, σ is calibrated to it)",
        ),
        (
            ["search.menu=[{num_steps: 10, expected_batch_size: 5000, epsilon: 1}]"],
            "search.menu.0.expected_batch_size: 5000 exceeds the 4000 examples that train",
        ),
        (
            [MENU, "privacy.noise_multiplier=2"],
            "privacy.noise_multiplier: each entry of search.menu has its own: leave this out",
        ),
        ([MENU, FILTER], "search: menu and filter count privacy in different ways: choose one"),
        (
            ["search.filter={order: 8, space: {method.smoothing: {low: 1e-3, high: 1e-2}}}"],
            "search.filter.space.method.smoothing: belongs into search.space. search.filter.space takes "
            "method.num_steps, privacy.noise_multiplier, privacy.expected_batch_size",
        ),
        (
            ["search.filter={order: 8, space: {method.num_steps: {choices: [10, 20]}}}"],
            "privacy.noise_multiplier: missing: under a filter give σ, or search privacy.noise_multiplier",
        ),
        (
            ["search.filter={order: 8, space: {privacy.expected_batch_size: {low: 8, high: 1e5}}}"],
            "search.filter.space.privacy.expected_batch_size: 100000.0 cannot be tried: privacy.expected_batch_size "
            "100000 exceeds data.num_examples 4000: the sampling probability would be above 1",
        ),
        (
            ["search.tune_on=public.jsonl", "score.on=private", "score.num_examples=100"],
            "score.on: trials on search.tune_on are free, and private scores are not: score on public data",
        ),
        (
            [MENU, "method.name=mezo", "method.num_directions=1", "privacy.epsilon=null"],
            "search.menu: counts privacy; MeZO has none: leave it out",
        ),
        (["budget.ledger=postgresql://me:secret@host/db"], None),
        (
            ["budget.ledger=nonsense"],
            "budget.ledger: must be an SQLAlchemy URL, such as postgresql+psycopg://user@host/name",
        ),
    ],
)
def test_what_no_rule_counts_is_refused(quickstart, changes, complaint):
    lines = sweep_lines(quickstart, *changes)
    if complaint is not None:
        assert complaint in lines
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/db",
        "postgresql+psycopg://me@host/db?password=hunter2",
        "postgresql://me@hunter2@host/db",
        "postgresql://me:1/hunter2@host/db",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(quickstart, url):
    [line] = run_lines(quickstart, f"budget.ledger={url}")
    assert line.startswith("budget.ledger: holds a password: leave it out, and put it into PGPASSWORD")
    assert "hunter2" not in line
