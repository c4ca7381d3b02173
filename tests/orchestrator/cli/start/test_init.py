import csv
import json

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.start import questions
from orchestrator.cli.start.proposal import batch_and_delta, declared, head_of, method_for
from orchestrator.config.loading import load_sweep
from tests.support.models import save_model

SECRET = "Wachtelkoenig"
NUMBERED = [(f"{SECRET} {n}", n % 2) for n in range(60)]
NAMED = [(f"{SECRET} {n}", ("good", "bad")[n % 2]) for n in range(60)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def init(project):
    """Run `dpzo init` with the small model and ε 3, unless the words say otherwise."""

    def run(*words, epsilon="3"):
        given = ["--epsilon", epsilon] if epsilon else []
        return CliRunner().invoke(app, ["init", *words, "--model", project["model"]["path"], *given])

    return run


def write_csv(path, names, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def reviews(count=123):
    return [(f"r{n}", f"the food was very good {SECRET}{n}", ("bad", "good")[n % 2]) for n in range(count)]


def error_of(result):
    assert result.exit_code == 2, result.output
    assert SECRET not in result.output
    line = result.output.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


def test_a_csv_becomes_a_configuration_that_is_planned(init, here):
    write_csv(here / "reviews.csv", ["id", "body", "rating"], reviews())
    said = init("reviews.csv")
    assert said.exit_code == 0, said.output
    written = (here / "reviews.yaml").read_text()
    config = load_sweep(here / "reviews.yaml")
    assert (config.task.template, config.task.label_column) == ("{body} It was", "rating")
    assert config.task.label_words == {"bad": " terrible", "good": " great"}
    assert (config.data.num_examples, config.privacy.expected_batch_size, config.privacy.delta) == (120, 30, 1e-5)
    assert (config.privacy.epsilon, config.score.on, config.data.validation_share) == (3, "private", 0.1)
    assert written.startswith("# yaml-language-server: $schema=dpzo-schema.json\n")
    assert json.loads((here / "dpzo-schema.json").read_text())["title"] == "Configuration of dpzo"
    assert SECRET not in written + said.output


def test_a_public_file_is_scored_on_for_nothing(init, here, project):
    assert (
        init(project["data"]["train"], "--validation", project["data"]["validation"], "--to", "own.yaml").exit_code == 0
    )
    config = load_sweep(here / "own.yaml")
    assert (config.name, config.score.on, config.data.validation) == ("own", "public", project["data"]["validation"])


def test_several_texts_and_a_text_to_generate(init, here):
    rows = [(f"the food was good {n}", f"the service was good {n}", f"it was very good {n}") for n in range(50)]
    write_csv(here / "pairs.csv", ["premise", "hypothesis", "answer"], rows)
    assert init("pairs.csv", "--target", "answer").exit_code == 0
    task = load_sweep(here / "pairs.yaml").task
    assert (task.template, task.target) == ("{premise}\n{hypothesis}\n", "{answer}")


def test_a_masked_model_gets_a_mask_only_for_words_that_are_tokens(here):
    save_model(here / "roberta", "roberta", "masked-lm")
    write_csv(here / "reviews.csv", ["id", "text", "label"], reviews())
    write_csv(here / "topics.csv", ["id", "text", "label"], [(i, text, f"topic {one}") for i, text, one in reviews()])
    words = ["--model", "roberta", "--epsilon", "2"]
    for name in ("reviews", "topics"):
        found = CliRunner().invoke(app, ["init", f"{name}.csv", *words])
        assert found.exit_code == 0, found.output
    assert load_sweep(here / "reviews.yaml").task.template == "{text} It was [MASK]."
    topics = load_sweep(here / "topics.yaml")
    assert (topics.model.head, topics.task.labels) == ("sequence-classification", ["topic bad", "topic good"])


@pytest.mark.parametrize(
    ("names", "rows", "words", "said"),
    [
        (["text"], [(SECRET,)], (), "the file has one column"),
        (["id", "text"], [(n, f"{SECRET} {n}") for n in range(60)], (), "no column of 2 has 2 to 20 different values"),
        (["text", "label"], [(f"{SECRET} {n}", f"{SECRET}{n % 12}") for n in range(60)], (), "fewer than 10 rows"),
        ([SECRET, "good"], NAMED, (), "is the first line a row?"),
        (["text", "label"], NUMBERED, ("--label", "lable"), "there is no such column"),
        (["text", "label"], NUMBERED, ("--labels", "bad,good"), "label"),
        (["text", "label"], NUMBERED, ("--to", "there.csv"), "exists already"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(init, here, names, rows, words, said):
    write_csv(here / "there.csv", names, rows)
    assert said in error_of(init("there.csv", *words))
    assert not (here / "there.yaml").exists()


def test_a_rare_label_may_be_given_as_public(init, here):
    rows = [(f"it was good {n}", "bad" if n < 3 else "good") for n in range(60)]
    write_csv(here / "rare.csv", ["text", "label"], rows)
    assert "--labels no,yes" in error_of(init("rare.csv"))
    assert init("rare.csv", "--labels", "bad,good").exit_code == 0


def test_without_a_terminal_epsilon_is_a_flag(init, here):
    write_csv(here / "reviews.csv", ["id", "text", "label"], reviews())
    assert "--epsilon is missing" in error_of(init("reviews.csv", epsilon=None))


def test_on_a_terminal_it_is_asked_for(monkeypatch):
    class Terminal:
        closed = False

        def isatty(self):
            return True

    monkeypatch.setattr(questions.sys, "__stdin__", Terminal())
    monkeypatch.setattr(questions.typer, "prompt", lambda question, default, type, err: type(4))
    assert questions.ask("--epsilon", "ε", None, 3.0, needed=True) == 4.0
    assert questions.ask("--epsilon", "ε", 2.0, 3.0, needed=True) == 2.0


def test_settings_are_those_of_the_nearest_published_model():
    assert method_for("causal-lm", 1.3e9).origin.startswith("published as preset dp-aggzo/opt-1.3b")
    assert method_for("masked-lm", 3.6e8).settings["clip_norm"] == 5.0
    assert "demo" in method_for("causal-lm", 2e5).origin
    assert [
        head_of({"architectures": [name]}) for name in ("OPTForCausalLM", "GPT2LMHeadModel", "BertForMaskedLM")
    ] == [
        "causal-lm",
        "causal-lm",
        "masked-lm",
    ]


def test_declared_numbers():
    assert [declared(number) for number in (7, 42, 4213, 67349)] == [7, 42, 4200, 67000]
    assert [batch_and_delta(number) for number in (8, 4000, 67000)] == [(2, 1e-5), (32, 1e-5), (64, 1e-6)]
