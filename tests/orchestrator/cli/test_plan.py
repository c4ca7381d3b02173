"""`dpzo plan` both ways: every rule side by side, what fits, what the budget has left, and the plot."""

import json
import sqlite3

import pytest
from matplotlib import rc_context
from typer.testing import CliRunner

from orchestrator.budget.budget import Budget
from orchestrator.budget.reservation import reserve_plan
from orchestrator.cli.app import app
from orchestrator.cli.output import as_json
from orchestrator.cli.plan import plan_values
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.alternatives import compare_alternatives, trial_numbers
from orchestrator.planning.plan import make_plan
from orchestrator.planning.plot import save_plot
from orchestrator.privacy.rules.comparison import RULE_NAMES
from orchestrator.privacy.rules.renyi_filter import RenyiFilter
from orchestrator.storage.paths import storage_of

SEARCH = ("search.sampler=random", "search.seed=null")
MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
PRIVATE = ("score.on=private", "score.num_examples=40", "score.times=2")
NO_NOISE = ("privacy.noise_multiplier=null",)
FILTER = {"order": 8, "space": {"privacy.noise_multiplier": {"low": 2, "high": 8}}}


@pytest.fixture
def plan(settings):
    """Plan the small sweep with overrides and changed sections."""

    def make(*overrides, **search):
        settings["search"] |= search
        return make_plan(load_sweep(settings, overrides))

    return make


@pytest.fixture
def only(monkeypatch):
    """Compare some rules only, which takes less time."""
    return lambda *names: monkeypatch.setattr("orchestrator.planning.rules.compared.RULE_NAMES", names)


@pytest.fixture
def dpzo(settings, tmp_path, monkeypatch):
    """Run `dpzo plan` on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*options, sets=(), **search):
        settings["search"] |= search
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        given = [part for override in sets for part in ("--set", override)]
        return CliRunner().invoke(app, ["plan", str(path), *given, *map(str, options)])

    return run


def fits(result):
    """The lines of a terminal, none longer than 80 columns, without those that are blank."""
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines() if line.strip()]
    assert max(map(len, lines)) <= 80, result.stdout
    assert "…" not in result.stdout
    return lines


def one_line(result, code=2):
    assert result.exit_code == code, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("overrides", "chosen"),
    [
        ((), "caps"),
        (("privacy.spare_steps=3", *PRIVATE, "privacy.spare_scores=1"), "caps"),
        ((*SEARCH, "search.release=best"), "best, geometric"),
        ((*SEARCH, "search.release=best", "privacy.spare_steps=3"), "best, geometric"),
        ((*SEARCH, "search.release=best", "search.secret_number.law=poisson", *PRIVATE), "best, poisson"),
        (("search.tune_on=/public.jsonl", "privacy.spare_steps=2"), "public tuning"),
        (("data.validation=null", "data.validation_share=0.5", "score.on=private"), "disjoint"),
    ],
)
def test_the_chosen_rule_costs_what_the_plan_does_and_the_others_stand_beside(plan, overrides, chosen):
    made = plan(*overrides)
    found = compare_alternatives(made)
    own = {row.rule: row for row in found.details.rows}
    assert (found.chosen, list(own)) == (chosen, list(RULE_NAMES))
    assert own[chosen].epsilon == pytest.approx(made.epsilon, rel=1e-6)


def test_a_law_that_the_comparison_does_not_know_is_not_marked(plan):
    made = plan(*SEARCH, "search.release=best", "search.secret_number.law=negative-binomial")
    assert (made.rule_name, compare_alternatives(made).chosen) == (None, None)


@pytest.mark.parametrize("spare", [0, 2])
def test_what_is_said_to_fit_fits_and_one_more_does_not(plan, only, spare):
    only("best, geometric")
    overrides = (*SEARCH, "search.release=best", f"privacy.spare_steps={spare}")
    made = plan(*overrides)
    limit = 1.2 * made.epsilon
    (row,) = compare_alternatives(made, limit).details.rows
    for setting, count in (("search.num_trials", row.num_trials), ("method.num_steps", row.steps_per_trial)):
        assert plan(*overrides, f"{setting}={count}").epsilon <= limit
        assert plan(*overrides, f"{setting}={int(1.01 * count) + 1}").epsilon > limit


def test_privacy_epsilon_is_the_limit_unless_another_is_asked_for(plan, only):
    only("caps")
    made = plan("privacy.epsilon=2")
    assert (compare_alternatives(made).limit, compare_alternatives(made, 0.5).limit) == (2, 0.5)
    assert compare_alternatives(plan()).limit is None
    assert all(row.num_trials is None for row in compare_alternatives(plan()).details.rows)


def test_one_run_stands_alone(settings):
    found = compare_alternatives(make_plan(load_run(settings)), 1.0)
    (row,) = found.details.rows
    assert (row.rule, row.steps_per_trial > 4) == ("caps", True)


def test_numbers_of_trials_are_around_the_plan():
    assert trial_numbers(7) == [1, 2, 5, 7, 10, 20, 50, 100]
    assert trial_numbers(3000)[-1] == 10_000


def test_a_menu_shows_its_entries_and_totals(plan):
    entries = [{"num_steps": 4, "expected_batch_size": 8, "noise_multiplier": 4.0},
               {"num_steps": 8, "expected_batch_size": 4, "epsilon": 0.5}]  # fmt: skip
    made = plan(*NO_NOISE, "privacy.epsilon=3", menu=entries)
    found = compare_alternatives(made, 1.0).details
    assert [entry.num_steps for entry in found.entries] == [4, 8]
    assert found.entries[1].epsilon == pytest.approx(0.5, abs=0.01)
    assert dict(found.totals)[3] == made.epsilon
    fitting = found.num_trials
    assert made.rule.with_trials(fitting).epsilon(1e-5) <= 1.0 < made.rule.with_trials(fitting + 1).epsilon(1e-5)
    assert compare_alternatives(made, 0.4).details.num_trials is None


def test_a_filter_shows_its_budget_and_prices(plan):
    made = plan(*NO_NOISE, *PRIVATE, "privacy.epsilon=3", filter=FILTER)
    found = compare_alternatives(made).details
    rule = RenyiFilter(order=8, epsilon_limit=3, delta=1e-5)
    assert found.capacity == rule.renyi(8)
    dearest, cheapest = found.prices
    assert (dearest.noise_multiplier, cheapest.noise_multiplier, dearest.expected_batch_size) == (2, 8, 8)
    assert dearest.step > cheapest.step > 0
    for price in found.prices:
        trial = 4 * price.step + 2 * price.score
        assert price.trials_that_fit * trial <= found.capacity < (price.trials_that_fit + 1) * trial
        assert price.steps_that_fit * price.step <= found.capacity < (price.steps_that_fit + 1) * price.step
    assert compare_alternatives(made, 6.0).details.capacity > found.capacity


def test_the_table_fits_a_terminal_and_marks_the_rule(dpzo):
    lines = fits(dpzo("--within", 0.1, sets=(*PRIVATE, "score.noise_multiplier=200")))
    header = next(number for number, line in enumerate(lines) if line.split()[:1] == ["rule"])
    assert lines[header].split() == ["rule", "total", "ε", "trials", "steps", "scores"]
    assert [line[2:19].strip() for line in lines[header + 1 :]] == list(RULE_NAMES)
    assert [line for line in lines if line.startswith("→")] == [lines[header + 1]]


@pytest.mark.parametrize(
    "search", [{"menu": [{"num_steps": 4, "expected_batch_size": 8, "noise_multiplier": 4.0}]}, {"filter": FILTER}]
)
def test_a_menu_and_a_filter_fit_a_terminal_and_are_private(dpzo, search):
    result = dpzo(sets=(*NO_NOISE, "privacy.epsilon=3"), **search)
    text = "\n".join(fits(result))
    assert "not private" not in text
    assert "trials" in text
    found = json.loads(dpzo("--format", "json", sets=(*NO_NOISE, "privacy.epsilon=3")).stdout)
    assert found["private"]
    assert found["outlook"][next(iter(search))]


def test_json_holds_all_of_it(plan, dpzo):
    found = json.loads(dpzo("--format", "json", "--within", 0.5).stdout)
    assert found == json.loads(as_json(plan_values(plan(), compare_alternatives(plan(), 0.5)))) | {
        "estimated_seconds": found["estimated_seconds"]
    }
    assert [row["rule"] for row in found["outlook"]["rules"]] == list(RULE_NAMES)
    assert found["outlook"]["chosen"] == found["rule"]["rule"] == "caps"
    assert json.loads(dpzo("--format", "json", "--brief").stdout)["outlook"] is None


def test_delta_of_one_in_n_is_warned_of_with_the_reason(dpzo):
    sets = ("privacy.delta=0.025",)  # 40 examples
    assert "publishing one example at random" in " ".join(fits(dpzo("--brief", sets=sets)))
    assert "δ ≥ 1 / num_examples" in json.loads(dpzo("--brief", "--format", "json", sets=sets).stdout)["warnings"][0]
    assert json.loads(dpzo("--brief", "--format", "json").stdout)["warnings"] == []


@pytest.mark.parametrize(
    ("options", "sets", "words"),
    [
        (("--within", 1), MEZO, "no privacy"),
        (("--plot", "x.png"), MEZO, "no privacy"),
        (("--within", 0), (), "--within is an ε above 0"),
        (("--plot", "x.pdf"), (), "a plot is a .png or .svg file"),
        (("--brief", "--within", 1), (), "--brief leaves out"),
    ],
)
def test_options_that_make_no_sense_are_refused(dpzo, options, sets, words):
    result = dpzo(*options, sets=sets)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_the_plot_is_written(dpzo, only, tmp_path, ending):
    only("caps", "public tuning")
    path = tmp_path / "plots" / f"plan{ending}"
    assert dpzo("--within", 0.05, "--plot", path).exit_code == 0
    assert (b"<svg" if ending == ".svg" else b"PNG") in path.read_bytes()[:1000]


def test_the_plot_names_every_curve_and_the_plan(plan, only, tmp_path):
    only("caps", "menu", "best, geometric", "public tuning")
    made = plan()
    found = compare_alternatives(made, 0.5)
    curves = found.details.curves(made)
    assert dict(zip(curves.num_trials, curves.epsilon["caps = menu"], strict=True))[3] == made.epsilon
    with rc_context({"svg.fonttype": "none"}):
        save_plot(made, found, tmp_path / "plan.svg")
    text = (tmp_path / "plan.svg").read_text(encoding="utf-8")
    for words in ("caps = menu", "best, geometric", "public tuning", "limit ε = 0.5", "this plan: 3"):
        assert words in text


@pytest.mark.parametrize(
    "search", [{"menu": [{"num_steps": 4, "expected_batch_size": 8, "noise_multiplier": 4.0}]}, {"filter": FILTER}]
)
def test_a_menu_and_a_filter_are_plotted(dpzo, tmp_path, search):
    assert dpzo("--plot", tmp_path / "a.png", sets=(*NO_NOISE, "privacy.epsilon=3"), **search).exit_code == 0
    assert (tmp_path / "a.png").stat().st_size > 5000


class TestBudget:
    """What the named budget has left."""

    SETS = ("budget.name=reviews",)

    @pytest.fixture
    def budget(self, settings):
        data = settings["data"]
        terms = {"data": data["train"], "num_examples": data["num_examples"], "epsilon": 1, "delta": 1e-4}
        return lambda **changes: Budget.create("reviews", **{**terms, "ledger": settings["storage_path"], **changes})

    def test_a_ledger_that_is_not_there_is_said_and_not_made(self, dpzo, settings, tmp_path):
        assert "its ledger is not there yet" in dpzo(sets=self.SETS).stdout
        assert not (tmp_path / "runs").exists()

    def test_what_is_left_before_and_after(self, budget, dpzo, plan):
        budget()
        lines = fits(dpzo(sets=self.SETS))
        epsilon = plan(*self.SETS).epsilon
        found = json.loads(dpzo("--format", "json", sets=self.SETS).stdout)["outlook"]["budget"]
        assert found["left"] == {"epsilon": 1, "delta": 1e-4, "renyi": None}
        assert found["asked_epsilon"] == epsilon
        assert found["after"]["epsilon"] == pytest.approx(1 - epsilon, abs=1e-15)
        assert lines[-3].endswith("ε = 1, δ = 0.0001 left")

    def test_no_private_row_is_read_for_it(self, budget, dpzo, settings, tmp_path):
        budget()
        assert dpzo(sets=(*self.SETS, "data.train=/nowhere/private.jsonl")).exit_code == 0

    def test_a_plan_that_does_not_fit_is_told_why(self, budget, dpzo):
        budget(epsilon=0.01)
        found = json.loads(dpzo("--format", "json", sets=self.SETS).stdout)["outlook"]["budget"]
        assert "has no room for 'test'" in found["refusal"]
        assert found["after"] is None
        assert "does not fit" in " ".join(fits(dpzo(sets=self.SETS)))

    def test_what_is_reserved_already_or_left_over_is_not_charged_again(self, budget, dpzo, plan):
        budget()
        made = plan(*self.SETS)
        reserved = reserve_plan(made, storage_of(made.config))
        assert "is reserved already" in dpzo(sets=self.SETS).stdout
        reserved.ledger.close("test")
        found = json.loads(dpzo("--format", "json", sets=(*self.SETS, "name=next")).stdout)["outlook"]["budget"]
        assert (found["asked_epsilon"], found["reused"]) == (0, 12)
        assert "12 tokens left over" in dpzo(sets=(*self.SETS, "name=next")).stdout

    def test_a_renyi_budget(self, budget, dpzo):
        budget(composition="rdp")
        found = json.loads(dpzo("--format", "json", sets=self.SETS).stdout)["outlook"]["budget"]
        assert 0 < found["after"]["renyi"] < found["left"]["renyi"]
        assert found["left"]["epsilon"] is None
        assert "Rényi ε" in fits(dpzo(sets=self.SETS))[-1]

    def test_an_unknown_or_another_kind_of_budget_is_refused(self, budget, dpzo):
        budget(adjacency="replace-one")
        assert "Did you mean 'reviews'?" in one_line(dpzo("--format", "json", sets=("budget.name=review",)))
        assert "privacy.adjacency is 'add-or-remove-one'" in one_line(dpzo("--format", "json", sets=self.SETS))

    def test_a_tampered_ledger_is_refused(self, budget, dpzo, settings):
        budget()
        with sqlite3.connect(f"{settings['storage_path']}/dpzo.db") as database:
            database.execute("UPDATE budgets SET terms = replace(terms, '1.0', '9.0')")
        database.close()
        assert one_line(dpzo("--format", "json", sets=self.SETS), 3).startswith("Ledger refused: ")
