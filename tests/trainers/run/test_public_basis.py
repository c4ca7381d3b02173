"""The public basis of a run: never of a private row, the same on replay, refused where it is another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import MATRICES, Quadratic, example
from tests.support.runs import open_run, run_config
from trainers.config import RunConfig
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.zeroth_order import ZerothOrderRun

STAGED = {
    "name": "dp-zoso",
    "stage_steps": 2,
    "num_steps": 6,
    "clip_norm": 1.5,
    "learning_rate": 0.05,
    "smoothing": 1e-2,
}


def config_of(direction: str = "activation", **performance: object) -> RunConfig:
    values = run_config(model__trainable="all-linear", data__public="public.jsonl").model_dump(mode="json")
    method = {**STAGED, "num_directions": 2, "direction": direction, "direction_rank": 3}
    return RunConfig.model_validate({**values, "method": method, "performance": performance})


def quadratic() -> Quadratic:
    return Quadratic(shapes=MATRICES, start=1.0)


def trained(folder: Path, config: RunConfig, evaluator: Quadratic, num_examples: int = 100) -> ZerothOrderRun:
    run = open_run(
        folder,
        config,
        evaluator=evaluator,
        sampler=FrozenSampler([range(9)] * 6),
        noise=FrozenNoise(3),
        num_examples=num_examples,
    )
    with run.log:
        list(run.segments())
    return run


def replayed(folder: Path, config: RunConfig, evaluator: Quadratic) -> Quadratic:
    run = open_run(folder, config, evaluator=evaluator, tokens=LocalTokens(0))
    with run.log:
        run.replay()
    return evaluator


def digests_in_log(folder: Path) -> list[str]:
    entries = [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]
    return [entry["basis_digest"] for entry in entries if entry.get("type") == "PUBLIC"]


@pytest.mark.parametrize("direction", ["activation", "public-gradient"])
def test_a_basis_is_made_anew_at_each_stage_and_lies_beside_the_log(tmp_path, direction):
    run = trained(tmp_path, config_of(direction), quadratic())
    assert run.config.method.stage_starts == (0, 2)
    digests = digests_in_log(tmp_path)
    assert len(set(digests)) == 2
    assert sorted(path.name for path in tmp_path.glob("basis-*")) == ["basis-0.safetensors", "basis-1.safetensors"]


def test_private_rows_do_not_enter_a_basis(tmp_path, monkeypatch):
    """Two runs whose private rows are all different, with the same public rows, have the same first basis."""
    trained(tmp_path / "one", config_of(), quadratic())
    planted = [example(5000 + number) for number in range(100)]
    monkeypatch.setattr("tests.support.runs.example", lambda n: planted[n] if n < 100 else example(n))
    run = open_run(tmp_path / "two", config_of(), evaluator=quadratic(), sampler=FrozenSampler([range(9)] * 6))
    assert {one.prompt_ids for unit in run._context.units for one in unit} == {one.prompt_ids for one in planted}
    with run.log:
        list(run.segments())
    assert digests_in_log(tmp_path / "one")[0] == digests_in_log(tmp_path / "two")[0]


def test_public_rows_make_the_basis(tmp_path, monkeypatch):
    trained(tmp_path / "one", config_of(), quadratic())
    monkeypatch.setattr("tests.support.runs.example", lambda n: example(n if n < 100 else n + 7))
    trained(tmp_path / "two", config_of(), quadratic())
    assert digests_in_log(tmp_path / "one")[0] != digests_in_log(tmp_path / "two")[0]


def test_a_replay_reads_the_stored_basis_and_asks_the_model_nothing(tmp_path, monkeypatch):
    first = quadratic()
    trained(tmp_path, config_of(), first)

    def refused(self, public, rank):
        raise AssertionError("the model was asked")

    monkeypatch.setattr(Quadratic, "activation_basis", refused)
    assert replayed(tmp_path, config_of(), quadratic()).state_digest() == first.state_digest()


def test_without_its_files_a_replay_makes_the_same_basis_again(tmp_path):
    first = quadratic()
    trained(tmp_path, config_of(), first)
    for path in tmp_path.glob("basis-*"):
        path.unlink()
    assert replayed(tmp_path, config_of(), quadratic()).state_digest() == first.state_digest()


def test_another_basis_is_refused_from_a_file_and_from_public_rows(tmp_path, monkeypatch):
    trained(tmp_path, config_of(), quadratic())
    path = tmp_path / "basis-1.safetensors"
    parts = load_file(path)
    save_file({name: torch.nextafter(part, part + 1) for name, part in parts.items()}, path)
    with pytest.raises(ValueError, match=r"^data\.public: .* another public basis at its stage 1"):
        replayed(tmp_path, config_of(), quadratic())
    for stored in tmp_path.glob("basis-*"):
        stored.unlink()
    monkeypatch.setattr("tests.support.runs.example", lambda n: example(n if n < 100 else n + 7))
    with pytest.raises(ValueError, match=r"^data\.public: .* another public basis at its stage 0"):
        replayed(tmp_path, config_of(), quadratic())


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_snapshot_in_the_middle_of_a_stage_finds_its_basis_or_is_passed_over(tmp_path, is_stored):
    config, first = config_of(snapshot_steps=3), quadratic()
    trained(tmp_path, config, first)
    (tmp_path / LOG_NAME).write_bytes((tmp_path / LOG_NAME).read_bytes())
    if not is_stored:
        for path in tmp_path.glob("basis-*"):
            path.unlink()
    run = open_run(tmp_path, config, evaluator=(again := quadratic()), tokens=LocalTokens(0))
    assert run.steps_taken == (6 if is_stored else 0)
    with run.log:
        run.replay()
    assert again.state_digest() == first.state_digest()


def test_a_search_that_varies_the_law_needs_public_rows_from_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.support.runs.Workspace", lambda *a, public_rows, **k: _without(*a, **k))
    with pytest.raises(ValueError, match="cannot begin in a search whose own configuration has none"):
        open_run(tmp_path, config_of(), evaluator=quadratic())


def _without(*arguments, **named):
    from trainers.run.context import Workspace

    return Workspace(*arguments, **named)
