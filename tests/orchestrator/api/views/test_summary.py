import io
import math

import pytest
from rich.console import Console

from orchestrator.api.views.live import LiveView
from orchestrator.api.views.summary import plan_summary, run_summary, sweep_summary
from orchestrator.api.views.tables import TrialsTable, facts_table, short
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.facts import duration
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.display import epsilon_text
from orchestrator.storage.paths import Storage
from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow, steps_to_come
from orchestrator.sweep.monitor import WorkFacts
from tests.support.monitors import monitored
from tests.support.statements import stated

WIDTH = 80
MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
NAMES = ["method.clip_norm", "method.learning_rate", "method.smoothing"]
VALUES = {"method.clip_norm": 12.3456, "method.learning_rate": 0.000123456, "method.smoothing": 0.0123456}
STATEMENT = stated(None, num_steps=4)


def shown(renderable) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(renderable)
    return console.file.getvalue()


def facts(renderable) -> dict[str, str]:
    """The two columns of a table of facts."""
    lines = [line.split("  ", 1) for line in shown(renderable).splitlines() if "  " in line]
    return {name.strip(): value.strip() for name, value in lines}


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path, "test")


def test_the_plan_of_a_sweep_tells_epsilon_caps_and_work(settings):
    plan = make_plan(load_sweep(settings, ["score.on=private", "score.num_examples=40", "data.num_examples=1000"]))
    found = facts(plan_summary(plan))
    assert found["total ε"] == f"{epsilon_text(plan.epsilon)} at δ = 1e-05"
    assert found["method"] == "DP-AggZO, K = 2, gaussian directions"
    assert found["steps"] == "3 trials × 4"
    assert found["one trial's ε"] == f"{epsilon_text(plan.trial_epsilon)} by itself"
    assert (found["noise multiplier σ"], found["sampling"]) == ("4", "Poisson, q = 0.008 (B = 8)")
    assert found["private scores"] == "6 at σ = 20"
    assert found["forward passes"] == "48 of the batch, 384 examples in all"
    assert found["time"].startswith("at most about ")  # no public row tells how long examples are


def test_the_plan_of_a_run_has_no_trials(settings):
    found = facts(plan_summary(make_plan(load_run(settings))))
    assert found["steps"] == "4"
    assert "one trial's ε" not in found


def test_a_plan_without_privacy_says_so(settings):
    found = facts(plan_summary(make_plan(load_sweep(settings, [*MEZO, "model.path=somebody/some-model"]))))
    assert found["total ε"] == "∞ (not private)"
    assert not {"noise multiplier σ", "sampling", "one trial's ε"} & set(found)
    assert found["time"] == "unknown before the model is loaded"


def test_trials_fit_a_terminal(storage):
    rows = [
        TrialRow(0, VALUES, "complete", 1000, 1000, [0.5, 0.876], 1.2301),
        TrialRow(1, VALUES, "stopped early", 500, 501, [0.5], 0.9),
        TrialRow(12, VALUES, "running"),
        TrialRow(13, VALUES, "failed", 0, 1, [], math.inf),
    ]
    lines = shown(TrialsTable(rows, NAMES, 0, 1000, "accuracy")).splitlines()
    assert lines[0].split() == ["#", "clip_norm", "learning_rate", "smoothing", "steps", "score", "ε", "state"]
    assert lines[1].split() == ["0", "12.3", "0.000123", "0.0123", "1000/1000", "87.6%", "1.24", "complete", "★"]
    assert lines[2].split() == ["1", "12.3", "0.000123", "0.0123", "500/1000", "50.0%", "0.9", "stopped", "early"]
    assert lines[3].split() == ["12", "12.3", "0.000123", "0.0123", "0/1000", "running"]
    assert lines[4].split() == ["13", "12.3", "0.000123", "0.0123", "0/1000", "∞", "failed"]
    assert len(lines) == 5  # nothing is wrapped


def test_settings_that_do_not_fit_are_left_out_from_the_right():
    names = [f"method.setting_{number}" for number in range(8)]
    rows = [TrialRow(7, dict.fromkeys(names, 0.000123456), "stopped early", 500, 501, [0.5], 0.9)]
    lines = shown(TrialsTable(rows, names, 7, 1000, "accuracy")).splitlines()
    assert lines[0].split() == [*("#", "setting_0", "setting_1", "+6", "settings", "steps", "score", "ε", "state")]
    assert lines[1].split() == ["7", *["0.000123"] * 2, "500/1000", "50.0%", "0.9", "stopped", "early", "★"]
    assert len(lines) == 2  # nothing is wrapped


def test_the_summary_of_a_sweep_names_the_best_trial(settings, storage):
    best = TrialRow(1, {"method.learning_rate": 0.000123456}, "complete", 4, 4, [0.9], 1.0)
    result = StoredSweep("test", storage.folder, storage.model_folder, [best], best, 0.525, 61.0, STATEMENT)
    text = shown(sweep_summary(result, load_sweep(settings)))
    assert "best trial  1: 90.0% (learning_rate 0.000123)" in text
    assert "zero-shot   52.5%" in text
    assert "took        1 min 1 s" in text
    assert "PRIVACY STATEMENT" in text


def test_the_summary_of_a_sweep_without_a_complete_trial_names_none(settings, storage):
    failed = TrialRow(0, {"method.learning_rate": 1e-3}, "failed")
    result = StoredSweep("test", storage.folder, None, [failed], None, None, 1.0, STATEMENT)
    text = shown(sweep_summary(result, load_sweep(settings)))
    assert "best trial" not in text
    assert "zero-shot" not in text
    assert "★" not in text


def test_the_summary_of_a_run_tells_what_stays_charged(storage):
    def summary(charged, score):
        places = (storage.folder, storage.model_folder)
        return facts(
            run_summary(StoredRun("test", *places, 4, charged, None, score, [score], 1.0, STATEMENT), "accuracy")
        )

    assert summary(4, None)["steps"] == "4"
    assert summary(6, 0.5)["steps"] == "4 (2 more were interrupted and stay charged)"
    assert summary(6, 0.5)["score"] == "50.0%"
    assert not {"score", "zero-shot"} & set(summary(4, None))


def test_paths_are_shown_as_they_are():
    assert "/runs/[/red]/[bold]x" in shown(facts_table([("model", "/runs/[/red]/[bold]x")]))


def test_an_epsilon_is_never_shown_smaller_than_it_is():
    assert [epsilon_text(value) for value in (1.23401, 0.000123401, 8.0, math.inf)] == ["1.235", "0.0001235", "8", "∞"]
    assert epsilon_text(1.2301, digits=3) == "1.24"


def test_durations_are_told_as_people_do():
    assert [duration(seconds) for seconds in (0.4, 48, 59.6, 250, 11_100)] == [
        "0 s",
        "48 s",
        "1 min 0 s",
        "4 min 10 s",
        "3 h 5 min",
    ]
    assert (short(0.000123456), short(4), short("gaussian")) == ("0.000123", "4", "gaussian")


def test_steps_to_come_count_what_ended_trials_took():
    rows = [
        TrialRow(0, {}, "complete", 10, 10),
        TrialRow(1, {}, "stopped early", 5, 6),
        TrialRow(2, {}, "failed", 0, 1),
        TrialRow(3, {}, "running", 5, 5),
    ]
    assert steps_to_come(rows, 6, 10) == 6 + 1 + 4 * 10


def test_the_live_view_leaves_nothing_behind_and_asks_the_ledger():
    asked = []
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True)
    rows = [TrialRow(0, VALUES, "complete", 10, 10, [0.9])]
    facts = WorkFacts("sweep", "reviews", "accuracy", 10, 2, NAMES, rows, lambda: asked.append(1) or 13)
    with monitored(LiveView(console), facts):
        pass
    text = console.file.getvalue()
    assert asked
    assert "13/20" in text
    assert "90.0%" in text


def test_the_live_view_shows_a_trial_that_starts_and_its_score():
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True)
    view = LiveView(console)
    with monitored(view, WorkFacts("sweep", "reviews", "accuracy", 10, 2, NAMES, count_steps=lambda: 5)):
        view.on_trial_start(TrialRow(1, VALUES))
        view.on_score(TrialRow(1, VALUES, steps=5, scores=[0.75]))
    assert "5/10" in console.file.getvalue()
    assert "75.0%" in console.file.getvalue()


def test_the_live_view_of_a_search_of_one_winner_shows_no_trial():
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True)
    with monitored(LiveView(console), WorkFacts("sweep", "reviews", "accuracy", 10, None, NAMES)):
        pass
    assert "secret" in console.file.getvalue()
    assert "/10" not in console.file.getvalue()


def test_the_bar_of_a_run_counts_what_is_released():
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True)
    with monitored(LiveView(console), WorkFacts("run", "reviews", "accuracy", 20, count_steps=lambda: 13)):
        pass
    assert "reviews" in console.file.getvalue()
    assert "13/20" in console.file.getvalue()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "on this CPU"),
        (("resources.workers=4",), "with 4 workers × 1 CPU like this one's"),
        (("resources.workers=2", "resources.cpus_per_worker=8", "search.concurrent_trials=3"), "3 trials at once × 2"),
    ],
)
def test_a_plan_says_whose_time_it_is(settings, overrides, words):
    plan = make_plan(load_sweep(settings, overrides))
    assert words in " ".join(shown(plan_summary(plan)).split())
