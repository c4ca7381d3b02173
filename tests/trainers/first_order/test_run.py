"""First-order runs on a tiny model: releases, charges, snapshots and restarts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_accounting import dp_event

from orchestrator.planning.planned_sweep import planned_sweep
from tests.support.frozen import FrozenSampler
from tests.support.quadratic import Quadratic
from tests.trainers.first_order.conftest import ONE_TOKEN
from trainers.config import MethodConfig, RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.first_order.gradients import UnitGradients
from trainers.first_order.run import FirstOrderRun
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

NUM_STEPS = 10
BATCHES = [[step % 4, (step + 1) % 4] if step % 3 else [] for step in range(30)]


class SilentNoise:
    """Remembers what it was asked for, and adds nothing."""

    def __init__(self) -> None:
        self.stds: list[float] = []

    def add(self, total, std):
        self.stds.append(std)


def config_of(name: str = "dp-adamw", **changes: object) -> RunConfig:
    values: dict[str, dict[str, object]] = {
        "data": {"train": "train.jsonl", "num_examples": 8, "validation": "public.jsonl"},
        "task": {"template": "{text}", "label_column": "label", "label_words": {"a": " good", "b": " bad"}},
        "model": {"path": "model"},
        "method": {"name": name, "num_steps": NUM_STEPS, "learning_rate": 0.01, "clip_norm": 0.5},
        "privacy": {"expected_batch_size": 2} | ({} if name == "adamw" else {"noise_multiplier": 2.0}),
        "score": {"times": 2},
        "performance": {"snapshot_steps": 3},
    }
    for key, value in changes.items():
        section, field = key.split("__")
        values[section][field] = value
    return RunConfig.model_validate({"name": "test", **values})


def open_run(
    evaluator, folder: Path, config: RunConfig | None = None, *, tokens=None, batches=None, noise=None, **other
):
    config = config or config_of()
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    tokens = tokens or LocalTokens(NUM_STEPS)
    workspace = Workspace(ONE_TOKEN * 2, ONE_TOKEN, evaluator, gradients=UnitGradients(evaluator, 4096), **other)
    sampler = None if batches is None else FrozenSampler(batches)
    context = RunContext(workspace, config, plan, Tokens(tokens, tokens), folder)
    return FirstOrderRun(context, sampler=sampler, noise=noise)


def finish(run) -> list:
    with run.log:
        return list(run.segments())


def entries(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()][1:]


@pytest.fixture
def evaluator(evaluator_of):
    return evaluator_of("llama")


@pytest.mark.parametrize("name", ["dp-sgd", "dp-adamw", "adamw"])
def test_a_run_takes_its_steps_and_no_more(evaluator, tmp_path, name):
    run = open_run(evaluator, tmp_path, config_of(name))
    assert [steps for steps, _ in finish(run)] == [5, 10]
    assert (run.steps_taken, run.steps_released, run.steps_charged) == (10, 10, 10)
    again = open_run(evaluator, tmp_path, config_of(name), tokens=LocalTokens(0))
    assert [steps for steps, _ in finish(again)] == [5, 10]
    assert again.steps_charged == 10


def test_the_loss_falls_without_noise(evaluator, tmp_path):
    before = evaluator.losses(ONE_TOKEN).mean()
    finish(open_run(evaluator, tmp_path, config_of("adamw"), batches=BATCHES))
    assert evaluator.losses(ONE_TOKEN).mean() < 0.8 * before


def test_the_log_holds_digests_and_the_order_is_reserve_release_snapshot(evaluator, tmp_path):
    finish(open_run(evaluator, tmp_path))
    kinds = [entry["type"] for entry in entries(tmp_path)]
    assert kinds[:8] == ["RESERVE", "RELEASE"] * 3 + ["SNAPSHOT", "RESERVE"]
    assert all(
        set(entry) == {"type", "kind", "index", "digest", "chain"}
        for entry in entries(tmp_path)
        if entry["type"] == "RELEASE"
    )
    assert len({entry["digest"] for entry in entries(tmp_path) if entry["type"] == "RELEASE"}) == NUM_STEPS
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["snapshot-00000010.safetensors"]


def test_every_step_has_the_plans_noise_also_for_an_empty_batch(evaluator, tmp_path):
    noise = SilentNoise()
    finish(open_run(evaluator, tmp_path, batches=BATCHES, noise=noise))
    assert noise.stds == pytest.approx([2.0 * 0.5] * NUM_STEPS)
    assert min(noise.stds) > 1.0 - 1e-15


def test_an_empty_batch_moves_theta_by_the_noise(evaluator, tmp_path):
    config = config_of("dp-sgd", method__num_steps=1, method__learning_rate=1.0, score__times=1)
    before = {name: tensor.clone() for name, tensor in evaluator.parameters.theta().items()}
    finish(open_run(evaluator, tmp_path, config, batches=[[]]))
    moved = torch.cat([(evaluator.parameters.theta()[name] - before[name]).flatten() for name in before])
    assert float(moved.std()) == pytest.approx(2.0 * 0.5 / 2, rel=0.05)  # σ · C / B


def test_no_noise_without_privacy(evaluator, tmp_path):
    noise = SilentNoise()
    finish(open_run(evaluator, tmp_path, config_of("adamw"), noise=noise))
    assert noise.stds == []


@pytest.mark.parametrize("batch", [[0], [0, 1, 2, 3, 4, 5]])
def test_the_divisor_is_public(evaluator, tmp_path, batch):
    config = config_of("dp-sgd", method__num_steps=1, method__learning_rate=1.0, method__clip_norm=1e-3, score__times=1)
    before = {name: tensor.double() for name, tensor in evaluator.parameters.theta().items()}
    gradients = UnitGradients(evaluator, 4096)
    wanted = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    for row in batch:
        alone = gradients.alone([(ONE_TOKEN * 2)[row]])
        length = math.sqrt(sum(float(one.double().square().sum()) for one in alone.values()))
        for name, one in alone.items():
            wanted[name] -= one[0].double() * 1e-3 / length / 2  # every one clipped, over B = 2
    finish(open_run(evaluator, tmp_path, config, batches=[batch], noise=SilentNoise()))
    for name, tensor in evaluator.parameters.theta().items():
        torch.testing.assert_close(tensor.double() - before[name], wanted[name], rtol=1e-3, atol=2e-7)


def test_the_event_is_that_of_one_poisson_step_and_knows_no_directions():
    event = planned_sweep(config_of(), 2.0, num_trials=1).trial_caps().train_step.event()
    assert event == dp_event.PoissonSampledDpEvent(0.25, dp_event.GaussianDpEvent(2.0))


def test_a_plan_with_another_law_is_refused(evaluator, tmp_path, monkeypatch):
    laplace = dataclasses.replace(mechanism_plan(config_of(), 2.0), noise="laplace")
    monkeypatch.setattr("tests.trainers.first_order.test_run.mechanism_plan", lambda *_: laplace)
    with pytest.raises(ValueError, match="add Gaussian noise"):
        open_run(evaluator, tmp_path)


@pytest.mark.parametrize(("name", "momentum"), [("dp-sgd", 0.9), ("dp-adamw", 0.0)])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(evaluator, tmp_path, name, momentum):
    config = config_of(name, method__momentum=momentum)
    finish(open_run(evaluator, tmp_path / "one", config, batches=BATCHES, noise=SilentNoise()))
    wanted = evaluator.state_digest()
    first = open_run(evaluator, tmp_path / "two", config, batches=BATCHES, noise=SilentNoise())
    with first.log:
        next(first.segments())  # to the score at step 5, which is snapshotted
    evaluator.reset()
    second = open_run(evaluator, tmp_path / "two", config, batches=BATCHES[5:], noise=SilentNoise())
    assert second.steps_taken == 5
    finish(second)
    assert evaluator.state_digest() == wanted


def test_steps_after_the_last_snapshot_are_lost_charged_and_taken_again(evaluator, tmp_path):
    broken = open_run(evaluator, tmp_path, batches=BATCHES[:4])
    with pytest.raises(RuntimeError), broken.log:  # the fifth batch never comes: reserved, not released
        list(broken.segments())
    assert (broken.steps_taken, broken.steps_released, broken.steps_charged) == (4, 4, 5)
    again = open_run(evaluator, tmp_path, tokens=LocalTokens(NUM_STEPS + 2, already_drawn=5))
    assert (again.steps_taken, again.steps_charged) == (3, 5)
    assert [steps for steps, _ in finish(again)] == [5, 10]
    assert (again.steps_taken, again.steps_charged) == (10, 12)
    releases = [entry["digest"] for entry in entries(tmp_path) if entry["type"] == "RELEASE"]
    assert len(releases) == len(set(releases)) == 11


def test_a_run_without_spare_tokens_ends_early(evaluator, tmp_path):
    broken = open_run(evaluator, tmp_path, batches=BATCHES[:4])
    with pytest.raises(RuntimeError), broken.log:
        list(broken.segments())
    again = open_run(evaluator, tmp_path, tokens=LocalTokens(NUM_STEPS, already_drawn=5))
    assert [steps for steps, _ in finish(again)] == [5, 8]
    digest = evaluator.state_digest()
    third = open_run(evaluator, tmp_path, tokens=LocalTokens(0))  # what has been reached is on disk
    assert (third.steps_taken, evaluator.state_digest()) == (8, digest)
    third.close()


def test_a_token_is_drawn_before_anything_is_read(evaluator, tmp_path):
    run = open_run(evaluator, tmp_path, batches=[], tokens=LocalTokens(0))
    assert [steps for steps, _ in finish(run)] == [0]  # the empty sampler was never asked
    assert run.steps_charged == 0


def test_earlier_scores_are_those_of_earlier_weights(evaluator, tmp_path):
    wanted = finish(open_run(evaluator, tmp_path, config_of(score__times=5)))
    assert finish(open_run(evaluator, tmp_path, config_of(score__times=5), tokens=LocalTokens(0))) == wanted


def test_a_replay_needs_no_data_and_no_gradients(evaluator, tmp_path):
    finish(open_run(evaluator, tmp_path))
    wanted = evaluator.state_digest()
    config, none = config_of(), LocalTokens(0)
    workspace, plan = Workspace([], [], evaluator), mechanism_plan(config, 2.0)
    again = FirstOrderRun(RunContext(workspace, config, plan, Tokens(none, none), tmp_path))
    with again.log:
        again.replay()
    assert (again.steps_taken, evaluator.state_digest()) == (NUM_STEPS, wanted)


def test_a_changed_snapshot_is_refused(evaluator, tmp_path):
    finish(open_run(evaluator, tmp_path))
    path = tmp_path / "snapshot-00000010.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"release_log.jsonl names snapshots, and no file here is one of them"):
        open_run(evaluator, tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="it is gone, was changed"):
        open_run(evaluator, tmp_path)


def test_a_snapshot_of_another_run_is_refused(evaluator, tmp_path):
    finish(open_run(evaluator, tmp_path / "one"))
    finish(open_run(evaluator, tmp_path / "two"))
    name = "snapshot-00000010.safetensors"
    (tmp_path / "two" / name).write_bytes((tmp_path / "one" / name).read_bytes())
    with pytest.raises(ValueError, match="belongs to another run"):
        open_run(evaluator, tmp_path / "two")


def test_a_snapshot_that_no_line_names_is_not_looked_at(evaluator, tmp_path):
    """A kill between the file and its line: the one before it counts."""
    finish(open_run(evaluator, tmp_path))
    wanted = evaluator.state_digest()
    (tmp_path / "snapshot-00000011.safetensors").write_bytes(b"half of something")
    again = open_run(evaluator, tmp_path, tokens=LocalTokens(0))
    again.close()
    assert (again.steps_taken, evaluator.state_digest()) == (NUM_STEPS, wanted)


def test_a_zeroth_order_evaluator_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="first-order methods differentiate"):
        open_run(Quadratic(), tmp_path)


def test_zeroth_order_after_first_order_starts_from_the_base(evaluator, tmp_path):
    """A lane keeps its evaluator from trial to trial."""
    evaluator.reset()
    base = evaluator.state_digest()
    finish(open_run(evaluator, tmp_path / "one"))
    assert evaluator.state_digest() != base
    config = RunConfig.model_validate(
        {**config_of().model_dump(), "method": {"name": "dp-zo", "num_steps": 2, "smoothing": 0.01}}
    )
    plan, none = mechanism_plan(config, 2.0), LocalTokens(0)
    workspace = Workspace([], [], evaluator)
    ZerothOrderRun(RunContext(workspace, config, plan, Tokens(none, none), tmp_path / "two")).close()
    assert evaluator.state_digest() == base


def test_noise_enters_the_digest_of_a_release(evaluator, tmp_path):
    """What the log shows is a function of the noisy sum: the same batches leave other digests each time."""
    for name in ("one", "two"):
        finish(open_run(evaluator, tmp_path / name, batches=BATCHES))
    first, second = ([e["digest"] for e in entries(tmp_path / n) if e["type"] == "RELEASE"] for n in ("one", "two"))
    assert not set(first) & set(second)
    assert np.unique(first).size == NUM_STEPS


def test_settings_come_back_from_their_own_dump():
    config = config_of("dp-sgd", method__momentum=0.5, method__weight_decay=0.1)
    assert RunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("dp-sgd", "num_directions", 4),
        ("adamw", "smoothing", 0.1),
        ("dp-adamw", "direction", "rademacher"),
        ("adamw", "momentum", 0.5),
        ("dp-zo", "weight_decay", 0.1),
    ],
)
def test_a_setting_that_means_nothing_is_refused(name, field, value):
    with pytest.raises(ValueError, match=f"has no {field}: remove method.{field}"):
        MethodConfig.model_validate({"name": name, field: value})
