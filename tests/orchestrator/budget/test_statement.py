from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.statement.statement import LossesFrom
from orchestrator.privacy.statement.wording import SELECTION_NOTE
from orchestrator.storage.paths import storage_of
from trainers.evaluators.vllm.package import Package

MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
PRIVATE_SCORES = ("score.on=private", "score.num_examples=100", "score.times=2")


@pytest.fixture
def stated(settings):
    """Reserve a plan, draw some tokens of a kind, and return plan and statement."""

    def state(*overrides, load=load_sweep, **drawn):
        plan = make_plan(load(settings, overrides))
        reserved = reserve_plan(plan, storage_of(plan.config))
        for kind, count in drawn.items():
            for step in range(count):
                reserved.ledger.draw("test", kind, "trial-000", step)
        return plan, run_statement(plan, reserved)

    return state


def test_the_stated_epsilon_is_that_of_the_caps_whatever_was_drawn(stated):
    plan, statement = stated(train_step=5)
    assert statement.private
    assert "follows" not in statement.mechanism
    assert statement.epsilon == plan.epsilon
    assert statement.epsilon_per_trial == plan.trial_epsilon
    assert statement.delta_total == statement.delta_here == plan.config.privacy.delta
    assert (statement.caps, statement.tokens_drawn) == ({"train_step": 12}, {"train_step": 5})


@pytest.mark.parametrize(("name", "words"), [("dp-adamw", "loss gradients"), ("dp-zo", "loss differences")])
def test_a_statement_says_what_was_clipped(stated, name, words):
    method = f"method={{name: {name}, num_steps: 4}}"
    plan, statement = stated(method, load=load_run)
    assert words in statement.mechanism
    assert ("opacus" in statement.versions) == (name == "dp-adamw")
    assert statement.epsilon == plan.epsilon


AUTO_CHOICES = "search.space={method.clip_norm: {choices: [5, auto, {kind: auto, start: 2}]}}"


@pytest.mark.parametrize("override", ["method.clip_norm=auto", AUTO_CHOICES])
def test_a_clip_that_follows_norms_is_stated_at_the_same_epsilon(stated, override):
    plan, statement = stated(override)
    assert "Where C follows the norms" in statement.mechanism
    assert statement.epsilon == plan.epsilon


def test_private_scores_are_stated_beside_the_steps(stated):
    plan, statement = stated(*PRIVATE_SCORES, evaluation=2)
    assert statement.caps == {"train_step": 12, "evaluation": 6}
    assert statement.tokens_drawn == {"train_step": 0, "evaluation": 2}
    assert statement.epsilon == plan.epsilon
    assert not any("validation" in held for held in statement.public_data)


def test_what_was_held_public_is_named_without_the_operators_folders(stated, settings):
    _, statement = stated()
    assert statement.public_data == (
        f"base model and tokenizer ({Path(settings['model']['path']).name})",
        "prompt template and label words",
        "number of examples as declared (40)",
        f"validation examples ({Path(settings['data']['validation']).name})",
    )
    assert str(Path(settings["model"]["path"]).parent) not in statement.model_dump_json() + statement.text()


def test_a_clock_that_was_set_right_is_named(stated, monkeypatch):
    monkeypatch.setattr(clock, "today", lambda: "2126-11-30")
    plan, statement = stated()
    assert not any("clock" in line for line in statement.not_covered)
    monkeypatch.undo()
    storage = storage_of(plan.config)
    Ledger(storage.database_url).accept_clock("private")
    (note,) = (line for line in run_statement(plan, reserve_plan(plan, storage)).not_covered if "clock" in line)
    assert note.endswith("a clock was ahead, and the operator set it right.")


def test_a_run_without_validation_holds_none_public(stated):
    _, statement = stated("data.validation=null", load=load_run)
    assert not any("validation" in held for held in statement.public_data)


def test_a_run_is_stated_as_one_trial(stated):
    plan, statement = stated(load=load_run)
    assert statement.caps == {"train_step": 4}
    assert statement.epsilon == statement.epsilon_per_trial == plan.epsilon


def test_a_method_without_privacy_says_so(stated):
    _, statement = stated(*MEZO)
    assert (statement.private, statement.epsilon_total, statement.caps) == (False, None, {"train_step": 12})
    assert "NOT private" in statement.text()
    assert "total ε = ∞" in statement.text()


def test_a_checkout_that_is_not_installed_knows_its_version(stated, monkeypatch):
    """Such as the working folder of a Ray job; every token is drawn by the time that a statement is made."""
    made = Distribution.from_name

    def find(name):
        if name == "dpzo":
            raise PackageNotFoundError(name)
        return made(name)

    installed = version("dpzo")
    monkeypatch.setattr(Distribution, "from_name", find)
    assert stated()[1].versions["dpzo"] == installed


def test_the_software_is_named_with_its_versions(stated):
    _, statement = stated()
    assert statement.versions == {name: version(name) for name in ("dpzo", "torch", "transformers")}


def test_a_total_that_adds_up_a_selection_says_what_it_is_of(stated):
    shots = ("data.shots=10", "data.num_examples=null")
    for name, overrides in (("chosen", shots), ("whole", ("data.num_examples=20",))):
        _, statement = stated(f"name={name}", *overrides)
        assert SELECTION_NOTE in statement.not_covered
    assert statement.budget.num_reservations == 2


def test_rows_that_are_only_scored_on_are_said_to_be_another_data_set(stated):
    _, alone = stated()
    assert not any("another data set" in sentence for sentence in alone.not_covered)
    _, scored = stated("name=scored", *PRIVATE_SCORES)
    assert any("are another data set, of which budget 'public' counts ε = " in said for said in scored.not_covered)


def test_an_earlier_state_of_the_same_file_is_named(stated, settings, tmp_path):
    first, statement = stated()
    assert not any("same file name" in line for line in statement.not_covered)
    train = Path(settings["data"]["train"])
    other = tmp_path / "copy" / train.name
    other.parent.mkdir()
    other.write_text("".join(train.read_text().splitlines(keepends=True)[:-1]))
    _, statement = stated(f"data.train={other}", "name=test-2")
    assert statement.epsilon == first.epsilon
    assert any(f"'{train.stem}'" in line and "same file name" in line for line in statement.not_covered)


@pytest.mark.parametrize(
    ("overrides", "evaluator", "batch_invariant"),
    [
        ((), "transformers", False),
        (("model.dtype=bfloat16",), "transformers", True),
        (("performance.evaluator=vllm",), "vllm", False),
        (("performance.evaluator=vllm", "performance.vllm.batch_invariant=true", "model.dtype=bfloat16"), "vllm", True),
    ],
)
def test_a_statement_says_what_computed_the_losses(stated, monkeypatch, overrides, evaluator, batch_invariant):
    package = Package("sqlalchemy", version("sqlalchemy"))  # any that is installed
    monkeypatch.setattr("orchestrator.budget.statement.installed_vllm", lambda: package)
    _, statement = stated(*overrides)
    assert statement.losses == LossesFrom(evaluator=evaluator, batch_invariant=batch_invariant)
    assert ("sqlalchemy" in statement.versions) == (evaluator == "vllm")
