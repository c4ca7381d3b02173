"""The path of a newcomer in one process: own CSV → init → plan → sweep → report → export → loaded by transformers.

Trials run one after the other without Ray, on a real small model.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.sweep import driver
from tests.support.inline import InlineTune
from tests.support.models import save_model

PLANTED = "zqxjkvbwp"
SMALL = ("method.num_steps=3", "performance.num_threads=1", "privacy.rounding_share=0")
KNOWN = ("privacy.epsilon=null", "privacy.noise_multiplier=2")  # nothing is calibrated, which takes seconds
LORA = ("--set", "name=adapted", "--set", "model.trainable=lora")
TRIALS = ("search.num_trials=2", "search.concurrent_trials=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which all the verbs but `export` were typed; what they printed is in the file `said`."""
    folder = tmp_path_factory.mktemp("home")
    save_model(folder / "model", "llama")
    rows = [(f"c{n}", f"the food was very good {PLANTED}", ("bad", "good")[n % 2]) for n in range(80)]
    with (folder / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("customer", "review", "verdict"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(driver, "ray_session", lambda *_: contextlib.nullcontext())
        patch.setattr(driver, "tune", InlineTune())
        sets = [word for setting in (*SMALL, *KNOWN, *TRIALS) for word in ("--set", setting)]
        said = [
            dpzo("init", "reviews.csv", "--model", "model", "--epsilon", "8"),
            dpzo("plan", "reviews.yaml", "--brief", *sets),
            dpzo("sweep", "reviews.yaml", *sets),
            dpzo("train", "reviews.yaml", *sets[: -2 * len(TRIALS)], *LORA),
        ]
        (folder / "said").write_text("\n".join(said))
    return folder


def dpzo(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2, result.output
    return result.output


@pytest.fixture
def export(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)

    def run(source, name, *options):
        dpzo("export", source, "--to", tmp_path / name, *options)
        return tmp_path / name

    return run


def logits(folder, auto=AutoModelForCausalLM):
    tokens = AutoTokenizer.from_pretrained(folder)("the food was very good It was", return_tensors="pt")
    with torch.no_grad():
        return auto.from_pretrained(folder)(**tokens).logits


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_sweep_says_where_its_report_is_and_nothing_private_gets_out(home):
    assert f"The report is in {home}/runs/reviews/report.html." in (home / "said").read_text()
    written = [path for path in home.rglob("*") if path.is_file() and path.name != "reviews.csv"]
    assert {"report.html", "privacy_card.json", "README.md", "reviews.yaml"} <= {path.name for path in written}
    assert [str(path) for path in written if PLANTED.encode() in path.read_bytes()] == []


def test_an_export_is_what_the_sweep_left_and_the_same_each_time(home, export):
    once, again = files(export("runs/reviews", "once")), files(export("runs/reviews", "again", "--format", "hf"))
    assert once == again == files(home / "runs" / "reviews" / "model")
    assert "# reviews" in once["README.md"].decode()


def test_a_log_of_kilobytes_rebuilds_the_model_elsewhere(home, export, tmp_path):
    log = export("runs/reviews", "log", "--format", "log")
    assert sorted(files(log)) == ["README.md", "privacy_card.json", "release_log.jsonl", "run.json"]
    assert sum(map(len, files(log).values())) < 30_000
    assert [name for name, content in files(log).items() if str(home).encode() in content] == []
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(home / "model", elsewhere)
    assert files(export(log, "rebuilt", "--from-log", "--model", elsewhere)) == files(export("runs/reviews", "whole"))
    save_model(tmp_path / "other", "llama", tied=True)
    assert "base" in refused("export", log, "--to", tmp_path / "no", "--from-log", "--model", tmp_path / "other")


def test_a_log_of_an_adapter_is_rebuilt_on_its_own_base_model_alone(home, export, tmp_path):
    log = export("runs/adapted", "log", "--format", "log")
    adapter = export(log, "rebuilt", "--from-log", "--model", home / "model")
    assert (
        files(adapter)["adapter_model.safetensors"] == files(export("runs/adapted", "a"))["adapter_model.safetensors"]
    )
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "./model"
    assert [
        name for folder in (log, adapter) for name, held in files(folder).items() if str(home).encode() in held
    ] == []
    save_model(tmp_path / "other", "llama", tied=True)  # of the same shapes, where an adapter is
    said = refused("export", log, "--to", tmp_path / "no", "--from-log", "--model", tmp_path / "other")
    assert "its weights are not those of the base model on which the log was written" in said


def test_an_adapter_is_loaded_by_peft_and_merged_by_transformers(home, export):
    adapter, merged = (
        export("runs/adapted", "adapter", "--format", "peft"),
        export("runs/adapted", "merged", "--format", "merged"),
    )
    one, two = logits(adapter, AutoPeftModelForCausalLM), logits(merged)
    assert torch.allclose(one, two, atol=1e-5)
    assert not torch.allclose(one, logits(home / "model"), atol=1e-5)
    assert json.loads((merged / "privacy_card.json").read_text())["trained"] == "lora, merged"


def test_a_format_that_does_not_fit_is_refused(export, tmp_path, home, monkeypatch):
    monkeypatch.setattr("orchestrator.sweep.hub.get_token", lambda: None)
    to = ("--to", tmp_path / "no")
    assert "use --format merged" in refused("export", "runs/adapted", *to, "--format", "hf")
    assert "trained no adapter" in refused("export", "runs/reviews", *to, "--format", "peft")
    assert "give --to and --model alone" in refused("export", "runs/reviews", *to, "--from-log", "--format", "hf")
    assert "there is no run.json" in refused("export", "runs/reviews", *to, "--from-log")
    pushed = ("--push-to-hub", "me/model")
    assert "no token of the hub" in refused("export", "runs/reviews", *to, *pushed)
    assert not Path(tmp_path / "no").exists()


def test_the_model_is_scored_on_public_rows_alone(home, monkeypatch, tmp_path):
    monkeypatch.chdir(home)
    rows = [
        {"review": f"the service was {word} good", "verdict": label} for word, label in (("not", "bad"), ("", "good"))
    ]
    (tmp_path / "public.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("reviews", "adapted"):
        found = json.loads(dpzo("evaluate", f"runs/{name}", "--data", tmp_path / "public.jsonl", "--format", "json"))
        assert (found["rows"], 0 <= found["accuracy"] <= 1) == (2, True)
    assert "Name a file of public rows by --data" in refused("evaluate", "runs/reviews")
    shutil.copyfile("reviews.csv", tmp_path / "renamed.csv")
    for private in ("reviews.csv", tmp_path / "renamed.csv"):
        said = refused("evaluate", "runs/reviews", "--data", private)
        assert PLANTED not in said
        assert "private" in said or "protects" in said


def test_an_attack_is_for_the_operator_and_in_a_card_only_if_asked_for(home, monkeypatch, tmp_path):
    monkeypatch.chdir(home)
    others = public_file(tmp_path)
    said = dpzo("attack", "runs/reviews", "--data", others, "--rows", "60", "--format", "json")
    found = json.loads(said[said.index("{") :])
    assert (found["members"], found["non_members"]) == (60, 4)
    assert 0 <= found["auc"] <= 1
    evidence = home / "runs/reviews/operator-only/attack.json"
    assert json.loads(evidence.read_text()) == found
    assert "## Evidence" not in (home / "runs/reviews/model" / "README.md").read_text()
    dpzo("export", "runs/reviews", "--to", tmp_path / "shown", "--format", "log", "--evidence", evidence)
    card = (tmp_path / "shown" / "README.md").read_text()
    assert "It can never prove it." in card
    assert "no ε counts them" in card
    assert "is not as dpzo wrote it" in refused("export", "runs/reviews", "--to", tmp_path / "x", "--evidence", others)
    one = tmp_path / "one.csv"  # a single private row among others is no row that was never trained on
    one.write_text("review,verdict\nthe food was not good,bad\n" + f"the food was very good {PLANTED},good\n")
    for private in ("reviews.csv", one):
        said = refused("attack", "runs/reviews", "--data", private)
        assert PLANTED not in said
        assert "private" in said or "protects" in said


def public_file(folder):
    words = ("not", "bad"), ("very", "good"), ("never", "bad"), ("really", "good")
    rows = [{"review": f"the service was {word} good", "verdict": label} for word, label in words]
    (folder / "public.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "public.jsonl"


def test_a_finished_run_is_refined_on_public_rows_for_nothing(home, export, tmp_path):
    public = public_file(tmp_path)
    words = ("--data", public, "--average", "last-70%", "--scale", "3", "--format", "json")
    for name in ("reviews", "adapted"):
        found = json.loads(dpzo("refine", f"runs/{name}", *words))
        changes = [(one["change"]["last_percent"], one["change"]["scale"]) for one in found["candidates"]]
        assert (changes, found["chosen_on"]) == ([(None, 1.0), (70, 3.0)], "4 public rows of public.jsonl")
    card = card_of(home / "runs" / "reviews" / "model")
    assert card["refinement"] is None
    chosen = ("--average", "last-70%", "--scale", "3")
    log, whole = export("runs/reviews", "log", "--format", "log", *chosen), export("runs/reviews", "whole", *chosen)
    assert card_of(whole)["claim"] == card["claim"]
    assert files(export(log, "rebuilt", "--from-log")) == files(whole)
    assert files(whole)["model.safetensors"] != files(export("runs/reviews", "plain"))["model.safetensors"]


def test_the_card_of_a_refined_model_says_what_chose_it(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    scores = iter([0.25, 0.75])
    monkeypatch.setattr("orchestrator.sweep.refinement.public_metrics", lambda *_: {"accuracy": next(scores)})
    to = tmp_path / "new"
    said = dpzo(
        "refine", "runs/adapted", "--data", public_file(tmp_path), "--average", "last-70%", "--scale", "1", "--to", to
    )
    assert "Best on 4 public rows of public.jsonl: 75.0%, and 25.0% without a change. The cost is 0 ε." in " ".join(
        said.split()
    )
    assert "It was chosen on 4 public rows of public.jsonl" in (to / "README.md").read_text()
    assert any("4 public rows of public.jsonl" in line for line in card_of(to)["statement"]["public_data"])
    assert str(tmp_path) not in (to / "privacy_card.json").read_text()


def card_of(folder):
    return json.loads((folder / "privacy_card.json").read_text())


def test_private_rows_choose_nothing(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    one_row = public_file(tmp_path)
    with one_row.open("a") as file:  # one private row among public ones, in capitals
        file.write(json.dumps({"review": f"The food was VERY good {PLANTED}", "verdict": "good"}) + "\n")
    for private in (one_row, "reviews.csv"):
        said = refused("refine", "runs/reviews", "--data", private, "--to", tmp_path / "no")
        assert PLANTED not in said
        assert "--data holds rows" in said
    assert not (tmp_path / "no").exists()
