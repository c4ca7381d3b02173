"""The privacy card beside a model: its schema, its bytes, its metadata, and what it must not hold."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from jsonschema import Draft202012Validator

from orchestrator.config.loading import load_run
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.statement.card import Refinement, card_schema_json
from orchestrator.sweep.card import CARD_JSON, CARD_README, write_card
from tests.support.statements import DIGEST, stated

PLAN = PlannedSweep(
    num_trials=12,
    steps_per_trial=300,
    sampling_prob=0.05,
    noise_multiplier=3.0,
    spare_steps=30,
    evaluations_per_trial=5,
    evaluation_noise_multiplier=20.0,
)
SCHEMA = Path(__file__).parents[3] / "docs" / "privacy-card.schema.json"


@pytest.fixture
def config(settings):
    return load_run({key: value for key, value in settings.items() if key != "search"})


@pytest.fixture(scope="module")
def private():
    return stated(PLAN.caps(), public_data=["base model and tokenizer (model)"])


@pytest.fixture
def written(config, tmp_path):
    """Write a card and return its JSON and its Markdown."""

    def write(statement, **more):
        folder = tmp_path / f"card-{len(list(tmp_path.iterdir()))}"
        write_card(folder, config, statement, tmp_path / "none.jsonl", **more)
        return (folder / CARD_JSON).read_text(), (folder / CARD_README).read_text()

    return write


def test_the_published_schema_is_that_of_the_code():
    assert SCHEMA.read_text(encoding="utf-8") == card_schema_json()


def test_a_card_is_valid_and_the_same_each_time(written, private):
    refined = Refinement(kind="mean of the last 10 steps", chosen_on="public rows")
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for statement, more in ((private, {}), (stated(None), {}), (private, {"refinement": refined})):
        text, readme = written(statement, **more)
        assert [error.message for error in validator.iter_errors(json.loads(text))] == []
        assert (text, readme) == written(statement, **more)


def test_the_claim_is_that_of_the_statement_in_the_terms_of_nist(written, private):
    claim = json.loads(written(private)[0])["claim"]
    assert (claim["epsilon"], claim["delta"]) == (private.epsilon_total, private.delta_total)
    assert claim["unit_of_privacy"] == "one example"
    assert claim["neighboring_relation"] == "add or remove one unit (unbounded)"
    assert claim["trust_model"].startswith("central")


def test_a_model_hub_reads_the_metadata(written, private, config):
    card = ModelCard(written(private)[1], ignore_metadata_errors=False)
    assert card.data.base_model == "model"
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert card.data.tags == ["differential-privacy", "dpzo", config.method.name]
    assert "total ε = " in card.text
    assert DIGEST in card.text


def test_a_run_without_privacy_claims_none(written):
    text, readme = written(stated(None))
    assert json.loads(text)["claim"] is None
    assert "not private" in readme
    assert "differential-privacy" not in readme


def test_a_card_holds_no_path(written, private, config, tmp_path):
    for text in written(private):
        assert str(tmp_path) not in text
        assert str(Path(config.model.path).parent) not in text


def test_the_licence_is_that_of_the_base_model(written, private, config, tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    licensed = config.model_copy(update={"model": config.model.model_copy(update={"path": str(base)})})
    write_card(tmp_path / "out", licensed, private, tmp_path / "none.jsonl")
    assert ModelCard.load(tmp_path / "out" / CARD_README).data.license == "apache-2.0"
