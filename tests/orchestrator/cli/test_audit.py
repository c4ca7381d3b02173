"""`dpzo audit`: what it refuses, what it writes, and its exit codes."""

import json
import signal
import subprocess
import sys
from typing import get_args
from xml.etree import ElementTree

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.api.runs import plan
from orchestrator.api.views.audit import audit_summary, save_plot
from orchestrator.checks.audit.cases import catalogue_cases, catalogue_gradients, claims_of
from orchestrator.checks.audit.result import (
    AuditResult,
    CaseResult,
    ExtraResult,
    MembershipResult,
    ModelResult,
    Point,
    ReplayResult,
    ResidualResult,
)
from orchestrator.checks.audit.runner import MOST_JOBS
from orchestrator.cli.app import VIOLATION_FOUND, app
from tests.support.processes import children_of, wait_for
from trainers.mechanism.plan import Adjacency, NoiseLaw
from trainers.methods.catalogue import METHODS


def a_case(title="DP-ZO", power=1.0, findings=(), **powers):
    point = Point(fpr=0.1, fnr=0.4, fpr_lower=0.08, fpr_upper=0.12, fnr_lower=0.37, fnr_upper=0.43)
    return CaseResult(
        method="dp-zo",
        title=title,
        noise="gaussian",
        adjacency="add-or-remove-one",
        sampling_prob=0.5,
        noise_multiplier=1.0,
        num_directions=1,
        num_steps=10,
        planned_steps=1000,
        delta=1e-5,
        epsilon=10.4591,
        replay=ReplayResult(comparisons=600, largest_shift=1.0, findings=list(findings)),
        residuals=ResidualResult(values=24_000, empty_batches=5000, ks_pvalue=0.4, scale_ratio=1.003, findings=[]),
        membership=MembershipResult(
            runs=5000,
            tail=0.025,
            epsilon_lower=3.1,
            margin=-0.02,
            power=power,
            powers=powers,
            decided_at=point,
            measured=[point] * 9,
            claimed=[(0.0, 1.0), (0.1, 0.4), (1.0, 0.0)],
            findings=[],
        ),
    )


def a_result(*cases):
    model = ModelResult(parameters=60_000, comparisons=5, largest_shift=1.0, rounding=0.003, findings=[])
    return AuditResult(cases=list(cases), model=model, seconds=61.0, versions={"dpzo": "0.1.0"})


def shown(result, width=80):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(audit_summary(result))
    return captured.get()


def test_the_catalogue_is_every_private_method_and_every_law():
    cases = catalogue_cases()
    zeroth_order = {name for name, spec in METHODS.items() if spec.private and spec.order == "zeroth"}
    assert {case.config.method.name for case in cases} == zeroth_order
    assert {case.noise for case in cases} == set(get_args(NoiseLaw))
    assert {case.adjacency for case in cases} == set(get_args(Adjacency))
    assert len({case.label for case in cases}) == len(cases)


def test_a_configuration_is_audited_at_its_own_rate_and_noise(settings):
    made = plan(settings)
    case = claims_of(made, 5000)[0][0]
    assert case.plan.sampling_prob == pytest.approx(made.config.sampling_prob)
    assert case.law.noise_multiplier == pytest.approx(made.noise_multiplier)
    assert (case.plan.num_directions, case.plan.num_steps) == (2, 4)


def test_more_steps_than_can_be_played_are_cut_and_said(settings):
    settings["method"]["num_steps"] = 100_000
    case = claims_of(plan(settings), 5000)[0][0]
    assert (case.plan.num_steps, case.planned_steps) == (100, 100_000)
    assert case.epsilon < 20
    assert "10 steps of the 1000 planned" in " ".join(shown(a_result(a_case())).split())


def test_the_table_fits_eighty_columns_and_says_what_an_audit_is_worth():
    text = shown(a_result(a_case(), a_case("DP-AggZO", power=0.31)))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    words = " ".join(text.split())
    for expected in (
        "10.46",
        "1.000 ✓",
        "1.003 ✓",
        "not broken",
        "31%",
        "An audit can find violations. It cannot prove",
    ):
        assert expected in words
    assert "DP-AggZO: weak." in words
    assert "DP-ZO: weak." not in words
    assert "No violation found in 1 min 1 s; weak: DP-AggZO." in words


def test_guesses_that_find_one_of_the_faults_are_not_weak():
    assert a_case(power=0.0, doubled=0.4).membership.weak
    assert not a_case(power=0.0, doubled=0.6).membership.weak


def test_a_violation_names_method_and_part():
    result = a_result(a_case(findings=["a canary moved the sum by 2 C, not 1 C"]))
    assert result.violations == ["DP-ZO: replay: a canary moved the sum by 2 C, not 1 C"]
    words = " ".join(shown(result).split())
    assert "1.000 ✗" in words
    assert "VIOLATION - DP-ZO: replay: a canary moved the sum by 2 C" in words


def test_the_plot_names_its_axes_and_its_claim(tmp_path):
    save_plot(a_result(a_case(), a_case("DP-AggZO"), a_case("third")), tmp_path / "audit.png")
    save_plot(a_result(a_case()), tmp_path / "audit.svg")
    assert (tmp_path / "audit.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(tmp_path / "audit.svg")
    told = (tmp_path / "audit.svg").read_text(encoding="utf-8")
    for words in ("false positives", "false negatives", "breaks the claim", "DP-ZO, ε = 10.46 at δ = 1e-05"):
        assert f"<!-- {words}" in told


@pytest.mark.parametrize(("findings", "code"), [([], 0), (["too far"], VIOLATION_FOUND)])
def test_the_exit_code_tells_a_violation(findings, code, monkeypatch, tmp_path):
    asked = {}

    def played(cases, gradients, **options):
        asked.update(options, cases=len(cases), gradients=gradients)
        return a_result(a_case(findings=findings))

    monkeypatch.setattr("orchestrator.cli.audit.run_audit", played)
    done = CliRunner().invoke(app, ["audit", "--runs", "70", "--format", "json", "--output", str(tmp_path / "out")])
    assert done.exit_code == code, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert found["violations"] == [f"DP-ZO: replay: {finding}" for finding in findings]
    assert found["honesty"].startswith("An audit can find violations")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"audit.json", "audit.png", "audit.svg"}
    assert (asked["runs"], asked["cases"]) == (70, len(catalogue_cases()))
    assert asked["gradients"] == catalogue_gradients() == [("dp-sgd", 0.5, 1.0), ("dp-adamw", 0.5, 1.0)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runs", "3"], "--runs must be at least 20"),
        (["--set", "method.num_steps=3"], "--set changes a configuration"),
        (["/nowhere/run.yaml"], "/nowhere/run.yaml"),
    ],
)
def test_bad_input_has_exit_code_2(options, words):
    done = CliRunner().invoke(app, ["audit", *options])
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_method_without_privacy_is_refused(settings, tmp_path):
    settings["method"].update(name="mezo", num_directions=1)
    settings["privacy"]["noise_multiplier"] = None
    path = tmp_path / "run.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    done = CliRunner().invoke(app, ["audit", str(path)])
    assert done.exit_code == 2
    assert "MeZO has no privacy (ε = ∞), so that there is no claim to audit." in done.stderr


def test_gradients_are_audited_at_their_own_rate_and_noise(settings):
    settings["method"] = {"name": "dp-sgd", "num_steps": 4, "clip_norm": 0.1}
    made = plan(settings)
    assert claims_of(made, 5000) == ([], [("dp-sgd", made.config.sampling_prob, made.noise_multiplier)])


def test_what_is_found_beside_the_cases_is_a_violation():
    extra = ExtraResult(title="caps of the ledger", detail="8 steps with 5 tokens: 8 releases", findings=["too many"])
    result = a_result().model_copy(update={"extras": [extra]})
    assert result.violations == ["caps of the ledger: too many"]
    assert "caps of the ledger: 8 steps with 5 tokens: 8 releases." in shown(result, 200)


def test_a_configuration_from_file_to_verdict(settings, tmp_path):
    """Everything for real, over processes. With so few runs a canary is a false alarm too often to be asserted on."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    done = CliRunner().invoke(app, ["audit", str(path), "--runs", "20", "--format", "json"])
    (case,) = json.loads(done.stdout)["cases"]
    assert done.exit_code == (VIOLATION_FOUND if case["violations"] else 0), done.output
    assert (case["method"], case["membership"]["runs"]) == ("dp-aggzo", 20)
    assert case["replay"]["findings"] == case["residuals"]["findings"] == []
    assert case["residuals"]["values"] >= 20_000


def test_a_configuration_of_users_is_audited_at_the_rate_of_users(settings):
    settings["data"] |= {"user_column": "text", "max_examples_per_user": 1, "num_users": 12}
    settings["privacy"]["expected_batch_size"] = 6
    made = plan(settings)
    assert (
        claims_of(made, 5000)[0][0].plan.sampling_prob == pytest.approx(made.config.sampling_prob) == pytest.approx(0.5)
    )


def test_a_preset_for_another_kind_of_model_than_the_stub_is_audited(settings):
    settings["method"] = {"preset": "dp-aggzo/opt-1.3b", "num_steps": 4}
    settings["task"] |= {"template": "{text} It was", "label_words": {"0": " bad", "1": " good"}}
    assert claims_of(plan(settings), 5000)[0][0].plan.num_directions == 64


def test_nothing_is_left_of_an_audit_that_is_killed():
    command = [sys.executable, "-m", "orchestrator", "audit"]
    numbers = (signal.SIGKILL, signal.SIGTERM)
    audits = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in numbers]
    left = []
    for audit, number in zip(audits, numbers, strict=True):
        wait_for(lambda audit=audit: len(spawned(audit.pid)) == MOST_JOBS, 60, "the workers never started", 0.1)
        left += spawned(audit.pid)
        audit.send_signal(number)
        audit.wait()
    _, alive = psutil.wait_procs(left, timeout=20)
    for process in alive:
        process.kill()
    assert alive == []


def spawned(pid):
    """The workers of an audit."""
    children = [psutil.Process(child) for child in children_of(pid)]
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_an_audit_of_gradients_alone_has_no_cases_and_no_plot(settings, tmp_path):
    settings["method"] = {"name": "dp-sgd", "num_steps": 4, "clip_norm": 0.1}
    (tmp_path / "run.json").write_text(json.dumps(settings), encoding="utf-8")
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "run.json"), "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "DP-SGD: shift 1.000, noise × " in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["audit.json"]
