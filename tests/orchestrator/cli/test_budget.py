"""`dpzo budget` and `orchestrator.Budget`, on ledgers with reservations of every rule."""

import json
import math

import pytest
from typer.testing import CliRunner

from orchestrator import Budget
from orchestrator.budget.budget import all_budgets
from orchestrator.budget.ledger_location import open_ledger, url_of
from orchestrator.cli.app import app
from orchestrator.privacy.display import rounded_down
from orchestrator.privacy.errors import LedgerCorruptError, LedgerUnreachable
from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.budget import Cost
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.renyi_filter import RenyiFilter
from orchestrator.privacy.rules.repetitions import Repetitions
from tests.support.ledgers import tamper

DELTA = 1e-5


def steps(count=100, noise_multiplier=4.0):
    return SweepCaps(
        train_step=StepCap(sampling_prob=0.05, noise_multiplier=noise_multiplier, num_steps=count),
    )


CAPS = steps().model_copy(update={"evaluation": EvaluationCap(noise_multiplier=20.0, count=6)})
DISJOINT = CAPS.model_copy(update={"disjoint": True})
MENU = Menu(entries=(steps(), steps(50, 3.0)), num_trials=2)
BEST = BestOf(trial=steps(), number=Repetitions(law="geometric", mean=4))
FILTER = RenyiFilter(order=8, epsilon_limit=2.5, delta=DELTA)


@pytest.fixture
def rows(tmp_path):
    """Write so many private rows into a file."""

    def write(count=10, name="private.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f'{{"text": "row {number}"}}\n' for number in range(count)), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def place(tmp_path):
    """A storage folder of the test's own."""
    return tmp_path / "runs"


@pytest.fixture
def dpzo(place, monkeypatch):
    """Run `dpzo budget` on that ledger, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        return CliRunner().invoke(app, ["budget", *map(str, arguments), "--ledger", str(place)])

    return run


@pytest.fixture
def made(rows, place):
    """Make the budget `data`."""
    terms = {"data": rows(), "num_examples": 4000, "epsilon": 3, "delta": 1e-4, "ledger": place}
    return lambda **changes: Budget.create("data", **{**terms, **changes})


def reserve(budget, name, rule, charged=None, factor=1.0, **terms):
    """Reserve a rule as a sweep does, charged what `charged` (itself when None) costs, times a factor."""
    order, charged = budget.terms.order, charged or rule
    renyi = charged.renyi(order) if order else None
    cost = Cost(charged.epsilon(DELTA) * factor, DELTA, renyi, charged.to_json())
    caps = rule.tokens()
    secret = {"num_trials": 3} if rule.is_secret else None
    terms = {"max_holders": rule.max_holders, "secret": secret} | terms
    budget.ledger.reserve(name, caps, budget=budget.terms.name, cost=cost, **terms)


def fits(text):
    """The lines of a terminal, none longer than 80 columns."""
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80, text
    assert "…" not in text
    return lines


def one_line(result, code):
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def create(dpzo, source, *options, name="data"):
    return dpzo("create", name, "--data", source, *options)


LIMIT = ("--num-examples", 4000, "--epsilon", 3, "--delta", 1e-5)


def test_a_budget_is_made_for_its_data_and_only_once(dpzo, rows, place):
    for _ in range(2):
        result = create(dpzo, rows(), *LIMIT)
        assert result.exit_code == 0, result.output
    text = "\n".join(fits(result.stdout))
    assert "ε = 3 at δ = 1e-05" in text
    assert "4,000 examples, add-or-remove-one" in text
    (budget,) = all_budgets(open_ledger(place))
    assert (budget.terms.num_units, budget.terms.unit, len(budget.terms.fingerprint)) == (4000, "example", 64)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epsilon", 3, "--delta", 1e-5), "--num-examples, or --num-users"),
        ((*LIMIT, "--num-users", 3), "--num-examples, or --num-users"),
        ((*LIMIT, "--unit", "user"), "--unit user needs --num-users"),
        (("--num-examples", 5, "--epsilon", 3), "--epsilon and --delta (0 for pure ε), or --no-limit"),
        ((*LIMIT, "--no-limit"), "--no-limit counts without a limit"),
        ((*LIMIT, "--order", 8), "belong to composition 'rdp'"),
        ((*LIMIT, "--composition", "rdp", "--order", 1.5), "leaves nothing of ε = 3; order"),
        ((*LIMIT, "--composition", "rdp", "--adjacency", "replace-one"), "add-or-remove-one only"),
        (("--num-examples", 5, "--no-limit", "--composition", "rdp"), "needs epsilon above 0"),
    ],
)
def test_terms_that_contradict_are_refused_and_leave_no_ledger(dpzo, rows, place, options, words):
    assert words in one_line(create(dpzo, rows(), *options), 2)
    assert not place.exists()


def test_a_missing_file_is_refused_and_leaves_no_ledger(dpzo, place):
    assert "there is no file" in one_line(create(dpzo, "/nowhere/private.jsonl", *LIMIT), 2)
    assert not place.exists()


def test_other_terms_or_other_data_under_a_name_are_refused(dpzo, rows):
    create(dpzo, rows(), *LIMIT)
    other = create(dpzo, rows(), "--num-examples", 4000, "--epsilon", 4, "--delta", 1e-5)
    assert "epsilon is 3.0, not 4.0" in one_line(other, 2)
    assert "belongs to another data set" in one_line(create(dpzo, rows(11, "other.jsonl"), *LIMIT), 2)
    assert "already has budget 'data'" in one_line(create(dpzo, rows(), *LIMIT, name="second"), 2)


def test_no_limit_only_counts(dpzo, rows):
    assert create(dpzo, rows(), "--num-users", 50, "--no-limit").exit_code == 0
    lines = fits(dpzo("show").stdout)
    assert "50 users" in lines[1]
    assert "none" in lines[1]


def test_delta_of_one_in_n_is_warned_of(dpzo, rows):
    result = create(dpzo, rows(), "--num-examples", 50, "--epsilon", 3, "--delta", 0.02)
    assert "δ ≥ 1 / num_examples: publishing one example at random" in result.stdout


def test_a_renyi_budget_takes_an_order_that_suits_and_never_promises_more(dpzo, rows, made, place):
    result = create(dpzo, rows(), *LIMIT, "--composition", "rdp")
    assert "(suggested; fixed from now on)" in result.stdout
    (budget,) = all_budgets(open_ledger(place))
    promised = RenyiFilter(order=budget.terms.order, epsilon_limit=3, delta=DELTA)
    assert promised.epsilon(DELTA) <= 3
    assert budget.terms.renyi_limit == promised.renyi(budget.terms.order)
    reserve(budget, "filter", promised)  # a filter of the same terms takes exactly all of it
    assert budget.view().left.renyi == 0
    assert "Rényi, order" in fits(dpzo("show", "data").stdout)[2]


def test_what_is_left_is_exact_and_shown_rounded_down(made, dpzo):
    budget = made()
    reserve(budget, "a-sweep-with-a-rather-long-name-of-its-own", CAPS)
    view = budget.view()
    assert view.spent.epsilon + view.left.epsilon == pytest.approx(3, abs=1e-15)
    number = fits(dpzo("show").stdout)[1].split()[6]
    assert float(number) <= view.left.epsilon < float(number) + 1e-3
    fits(dpzo("show", "data").stdout)


def test_rounding_never_shows_more_than_is_left():
    assert [rounded_down(value) for value in (2.35699, 0.99999, 0.00012349, 3.0, 0.0)] == [
        "2.356",
        "0.9999",
        "0.0001234",
        "3",
        "0",
    ]


def test_a_budget_that_was_overspent_all_the_same_is_found(made, dpzo, monkeypatch):
    budget = made(epsilon=0.01)
    monkeypatch.setattr("orchestrator.privacy.ledger.reservations.require_room", lambda *_: None)
    reserve(budget, "sweep", CAPS)
    assert "is reserved, over its limit of 0.01" in dpzo("verify").stderr


def test_a_budget_shows_its_reservations_and_what_they_drew(made, dpzo):
    budget = made()
    reserve(budget, "first", CAPS)
    reserve(budget, "second", steps(10))
    budget.ledger.draw("first", "train_step", "run", 0, count=50)
    budget.ledger.close("first")
    text = dpzo("show", "data").stdout
    fits(text)
    assert "train_step 50 of 100" in text
    assert "evaluation 0 of 6" in text
    first, second = budget.view().reservations
    assert (first.share, first.closed, second.share, second.closed) == (0.5, True, 0.0, False)
    assert 0.25 < budget.view().share < 0.5  # weighted by ε, of which the first has more
    found = json.loads(dpzo("show", "data", "--format", "json").stdout)
    assert found["reservations"][0]["tokens"][1] == {"kind": "train_step", "cap": 100, "drawn": 50}


def test_what_a_search_with_a_secret_number_of_trials_drew_is_nowhere(made, dpzo):
    budget = made(epsilon=9)
    reserve(budget, "secret", BEST)
    outputs = []
    for drawn in (0, 57):
        if drawn:
            budget.ledger.draw("secret", "train_step", "trial-000", 0, count=drawn)
        verbs = (("show",), ("show", "data"), ("history", "data"), ("verify", "data"))
        outputs.append([dpzo(*verb, *form).stdout for verb in verbs for form in ((), ("--format", "json"))])
        outputs[-1].append(dpzo("export", "data").stdout)
    assert outputs[0] == outputs[1]
    assert "train_step secret of" in outputs[0][2]


def test_history_is_told_oldest_first(made, dpzo):
    budget = made()
    reserve(budget, "first", CAPS)
    budget.ledger.draw("first", "train_step", "run", 0, count=50)
    budget.ledger.close("first")
    text = dpzo("history", "data").stdout
    fits(text)
    assert [row.entry for row in budget.history()] == ["created", "reserved", "closed"]
    assert "train_step 50" in text
    assert json.loads(dpzo("history", "data", "--format", "json").stdout)[0]["entry"] == "created"


def test_export_writes_a_whole_file_that_holds_no_key(made, dpzo, tmp_path):
    budget = made()
    reserve(budget, "first", CAPS)
    assert dpzo("export", "data", "--output", tmp_path / "out" / "budget.json").exit_code == 0
    text = (tmp_path / "out" / "budget.json").read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(dpzo("export", "data").stdout) == budget.export()
    assert budget.ledger.key().hex() not in text


def test_a_clock_that_was_ahead_is_set_right(made, dpzo, monkeypatch):
    monkeypatch.setattr(clock, "today", lambda: "2126-11-30")
    reserve(made(), "sweep", CAPS)
    monkeypatch.undo()
    assert "clock accepted" in fits(dpzo("accept-clock", "data").stdout)[1]
    assert "no clock was ahead, there is nothing to accept" in one_line(dpzo("accept-clock", "data"), 2)
    assert json.loads(dpzo("history", "data", "--format", "json").stdout)[-1]["entry"] == "clock accepted"


@pytest.mark.parametrize("verb", ["show", "history", "verify", "export"])
def test_an_unknown_budget_and_a_missing_ledger_are_one_line(dpzo, made, verb, tmp_path, place):
    assert "There is no ledger at" in one_line(dpzo(verb, "data"), 2)
    assert not place.exists()
    made()
    assert "Unknown budget 'dat'; known: 'data'. Did you mean 'data'?" in one_line(dpzo(verb, "dat"), 2)


def test_a_file_that_is_no_ledger_is_one_line(place):
    place.mkdir()
    (place / "dpzo.db").write_text("no ledger " * 100, encoding="utf-8")
    result = CliRunner().invoke(app, ["budget", "show", "--ledger", str(place)])
    assert "cannot be read (file is not a database)" in one_line(result, 3)


def test_a_ledger_that_does_not_answer_has_exit_code_3(dpzo, made, monkeypatch):
    made()

    def away(*_):
        raise LedgerUnreachable("The ledger at postgresql://host/x does not answer (timeout).")

    monkeypatch.setattr("orchestrator.privacy.ledger.ledger.Ledger.budgets", away)
    assert one_line(dpzo("show"), 3) == "Ledger refused: The ledger at postgresql://host/x does not answer (timeout)."


def test_a_place_is_a_url_a_file_or_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert url_of(None) == f"sqlite:///{tmp_path}/runs/dpzo.db"
    assert url_of("there") == f"sqlite:///{tmp_path}/there/dpzo.db"
    assert url_of("new/folder") == f"sqlite:///{tmp_path}/new/folder/dpzo.db"
    assert url_of("new/ledger.db") == f"sqlite:///{tmp_path}/new/ledger.db"
    assert url_of("postgresql://u@h/d") == "postgresql://u@h/d"


@pytest.mark.parametrize("rule", [CAPS, DISJOINT, MENU, BEST, FILTER], ids=lambda rule: rule.rule)
def test_every_rule_is_recomputed_to_what_was_charged(made, dpzo, rule):
    budget = made(epsilon=20)
    reserve(budget, "sweep", rule)
    (found,) = budget.verify()
    assert (found.problem, found.charged) == (None, pytest.approx(rule.epsilon(DELTA), rel=1e-6))
    result = dpzo("verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert fits(result.stdout)[1].startswith("✓")


def test_a_run_without_privacy_and_tokens_left_over_are_recomputed(made):
    budget = made(epsilon=None, delta=0)
    budget.ledger.reserve(
        "mezo", {"train_step": Cap({"law": "not private"}, 9)}, budget="data",
        cost=Cost(math.inf, 0.0, None, {"rule": "not private"}),
    )  # fmt: skip
    reserve(budget, "first", CAPS)
    budget.ledger.close("first")
    reserve(budget, "part", steps(140), charged=steps(140).without({"train_step": 100}), reused={"train_step": 100})
    budget.ledger.close("part")
    reserve(budget, "none", steps(90), factor=0.0, reused={"train_step": 90})
    assert [one.problem for one in budget.verify()] == [None] * 4


def test_tokens_that_are_left_over_are_not_free_twice(made, dpzo):
    budget = made()
    reserve(budget, "first", CAPS)
    budget.ledger.close("first")
    reserve(budget, "part", steps(140), charged=steps(30), reused={"train_step": 100})
    result = dpzo("verify")
    assert result.exit_code == 3
    assert "'part': 40 'train_step' tokens may be drawn, 30 are charged" in result.stderr


@pytest.mark.parametrize(
    ("charged", "factor", "words"),
    [
        (CAPS, 0.5, "is what its rule costs"),
        (CAPS, 1 + 3e-6, "is what its rule costs"),
        (CAPS.model_copy(update={"evaluation": None}), 1.0, "'evaluation' tokens of"),
        (steps(100, 5.0).model_copy(update={"evaluation": CAPS.evaluation}), 1.0, "its rule charges other ones"),
        (steps(99).model_copy(update={"evaluation": CAPS.evaluation}), 1.0, "100 'train_step' tokens may be drawn, 99"),
    ],
    ids=["half", "a little", "no scores", "more noise", "one step less"],
)
def test_an_epsilon_that_is_not_that_of_the_caps_is_found(made, dpzo, charged, factor, words):
    budget = made()
    reserve(budget, "sweep", CAPS, charged, factor)
    budget.ledger.verify_all()  # the chain holds: it says only that this is what was written
    with pytest.raises(LedgerCorruptError, match="1 of 1 checked do not fit"):
        budget.verify()
    result = dpzo("verify")
    assert result.exit_code == 3
    assert words in result.stderr
    assert fits(result.stdout)[1].startswith("✗")


def test_a_menu_that_more_trials_may_draw_from_is_found(made, dpzo):
    budget = made(epsilon=9)
    reserve(budget, "sweep", MENU, max_holders=3)
    assert "3 trials may draw, 2 are charged" in dpzo("verify").stderr


def test_a_rule_that_nobody_knows_is_found(made, dpzo):
    budget = made()
    budget.ledger.reserve("odd", {"train_step": Cap({"a": 1}, 5)}, budget="data", cost=Cost(0.1, DELTA))
    result = dpzo("verify")
    assert result.exit_code == 3
    assert "'odd': its rule has no ε" in result.stderr


def test_a_renyi_epsilon_that_is_too_small_is_found(made, dpzo):
    budget = made(composition="rdp")
    cost = Cost(steps().epsilon(DELTA), DELTA, 0.5 * steps().renyi(budget.terms.order), steps().to_json())
    budget.ledger.reserve("sweep", steps().tokens(), budget="data", cost=cost)
    assert "Rényi ε = " in dpzo("verify").stderr


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET content = replace(content, '\"noise_multiplier\":4.0', '\"noise_multiplier\":9.0')",
        "UPDATE reservations SET terms = replace(terms, '\"epsilon\"', '\"epsilon \"')",
        "UPDATE caps SET cap = cap + 1",
        "UPDATE budgets SET terms = replace(terms, '3.0', '9.0')",
        "DELETE FROM draws",
    ],
)
def test_a_tampered_ledger_has_exit_code_3(made, dpzo, statement):
    budget = made()
    reserve(budget, "sweep", CAPS)
    budget.ledger.draw("sweep", "train_step", "run", 0)
    assert dpzo("verify", "data").exit_code == 0
    tamper(budget.ledger.url, statement)
    assert one_line(dpzo("verify", "data"), 3).startswith("Ledger refused: ")
