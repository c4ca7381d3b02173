"""Stages, pull, masks, schedules and post-processing of one run on a quadratic of three tensors."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import MATRICES, Quadratic, example
from tests.support.runs import open_run, run_config
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.directions import Direction, direction_values
from trainers.directions.blocks import shares_by_size
from trainers.directions.masks import choose
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP
from trainers.mechanism.release_log import ReleaseLog
from trainers.mechanism.sampling import PoissonSampler
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.pruning import require_kept
from trainers.run.zeroth_order import ZerothOrderRun


def config_of(**method: object) -> RunConfig:
    base = run_config().model_dump(mode="json", include={"name", "data", "task", "model", "privacy"})
    settings = {"num_steps": 6, "clip_norm": 1.5, "learning_rate": 0.05, "smoothing": 1e-2, **method}
    return RunConfig.model_validate({**base, "method": settings})


def quadratic() -> Quadratic:
    return Quadratic(shapes=MATRICES, start=1.0)


def opened(folder, config: RunConfig, evaluator: Quadratic, batches=None, noise=None, tokens=None) -> ZerothOrderRun:
    sampler = FrozenSampler(batches if batches is not None else [range(9)] * config.method.num_steps)
    return open_run(folder, config, evaluator=evaluator, sampler=sampler, noise=noise, tokens=tokens)


def thetas(run: ZerothOrderRun, evaluator: Quadratic) -> list[np.ndarray]:
    """Take every step; return θ before the first and after each."""
    seen = [evaluator.theta]
    with run.log:
        for _ in range(run.config.method.num_steps):
            run._step()
            seen.append(evaluator.theta)
    return seen


def z_of(config: RunConfig, step: int, index: int = 0) -> np.ndarray:
    direction = Direction(config.method.seed, step, index, "gaussian")
    return np.concatenate([direction_values(direction, name, shape) for name, shape in sorted(MATRICES.items())])


def test_block_local_directions_are_scaled_alike_in_probes_and_update(tmp_path):
    """By 1/√p_b of the block that was drawn, on both sides: the estimate has no bias."""
    config, evaluator = config_of(num_directions=3, support="layer", clip_norm=100.0), quadratic()
    run = opened(tmp_path, config, evaluator, noise=FrozenNoise(scale=0.0))
    blocks = evaluator.parameters.blocks()
    shares = dict(zip(blocks, shares_by_size(blocks), strict=True))
    with run.log:
        for step in range(6):
            probes = run._context.method.propose(step)
            run._step()
            g_K = run.log.releases["step"][step] * 100.0 / GRID_UNITS_PER_CLIP / 20
            for (z, moved), g, probe in zip(evaluator.updates[-1], g_K, probes[0::2], strict=True):
                assert z == probe.direction
                assert probe.scale == pytest.approx(1e-2 / np.sqrt(shares[z.block]))
                assert moved == pytest.approx(-0.05 * g / np.sqrt(shares[z.block]))
    assert {len(update) for update in evaluator.updates} == {3}
    assert {z.block for update in evaluator.updates for z, _ in update} == set(blocks)


# the pull


ZOSO = {"name": "dp-zoso", "stage_steps": 2, "proximal": 0.5, "learning_rate": {"kind": "constant", "value": 0.1}}


def test_a_step_is_the_gradient_and_the_pull_to_the_first_iterate_of_its_stage(tmp_path):
    """θ ← θ − η (g z + ρ (θ − θ_s)), with θ_s of steps 0, 0, 2, 2, 2, 2: stages of 2 and 4 steps."""
    config, evaluator = config_of(**ZOSO), quadratic()
    run = opened(tmp_path, config, evaluator)
    theta = thetas(run, evaluator)
    for step, start in enumerate([0, 0, 2, 2, 2, 2]):
        g = float(run.log.releases["step"][step][0]) * 1.5 / GRID_UNITS_PER_CLIP / 20
        expected = theta[step] - 0.1 * (g * z_of(config, step) + 0.5 * (theta[step] - theta[start]))
        np.testing.assert_allclose(theta[step + 1], expected, atol=1e-6)


def test_the_pull_alone_brings_theta_back_to_its_anchor(tmp_path):
    config, evaluator = config_of(**{**ZOSO, "stage_steps": 6}, clip_norm=100.0), quadratic()
    run = opened(tmp_path, config, evaluator, [range(9)] + [[]] * 5, FrozenNoise(scale=0.0))
    theta = thetas(run, evaluator)
    distances = [float(np.linalg.norm(point - theta[0])) for point in theta]
    assert distances[1] > 0.01
    for before, after in itertools.pairwise(distances[1:]):
        assert after == pytest.approx(before * (1 - 0.1 * 0.5), rel=1e-3)


def test_an_anchor_is_a_copy_and_not_the_weights_themselves(tmp_path):
    with_pull, without = quadratic(), quadratic()
    for evaluator, proximal in ((with_pull, 0.5), (without, 0.0)):
        run = opened(
            tmp_path / str(proximal), config_of(**{**ZOSO, "proximal": proximal}), evaluator, noise=FrozenNoise(1)
        )
        thetas(run, evaluator)
    assert np.abs(with_pull.theta - without.theta).max() > 1e-3


def test_a_stage_halves_the_learning_rate(tmp_path):
    config, evaluator = config_of(name="dp-zoso", stage_steps=2, proximal=0.0, learning_rate=0.1), quadratic()
    run = opened(tmp_path, config, evaluator)
    thetas(run, evaluator)
    sums = [float(values[0]) * 1.5 / GRID_UNITS_PER_CLIP / 20 for values in run.log.releases["step"]]
    rates = [-update[0][1] / g for update, g in zip(evaluator.updates, sums, strict=True)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05, 0.05, 0.05, 0.05])


# masks


def zopo(**mask: object) -> dict:
    return {"name": "dp-zopo", "stage_steps": 2, "proximal": 0.0, "mask": {"keep": 0.2, **mask}}


@pytest.mark.parametrize("scores", ["synflow", "magnitude"])
@pytest.mark.parametrize("direction", ["gaussian", "rademacher", "sphere", "low-rank"])
def test_masked_coordinates_move_and_no_others(scores, direction, tmp_path):
    config, evaluator = config_of(**zopo(scores=scores), direction=direction), quadratic()
    theta = thetas(opened(tmp_path, config, evaluator), evaluator)
    kept = kept_of(evaluator)
    moved = np.flatnonzero(theta[-1] != theta[0])
    assert moved.tolist() == kept.tolist()
    assert len(kept) == int(0.2 * 58)


def kept_of(evaluator: Quadratic) -> np.ndarray:
    """Return the kept places in the order of `theta`."""
    kept = evaluator.parameters._kept
    assert kept is not None
    offsets = np.cumsum([0, *(int(np.prod(shape)) for _, shape in sorted(MATRICES.items()))])
    return np.sort(
        np.concatenate([kept[name].numpy() + at for name, at in zip(sorted(MATRICES), offsets, strict=False)])
    )


def test_a_probe_of_a_mask_moves_only_what_it_keeps(tmp_path):
    config, evaluator = config_of(**zopo()), quadratic()
    run = opened(tmp_path, config, evaluator)
    run._context.method.enter(0)
    before = evaluator.theta
    probe = run._context.method.propose(0)[0]
    evaluator.parameters.perturb(probe.direction, probe.scale)
    assert np.flatnonzero(evaluator._values() != before).tolist() == kept_of(evaluator).tolist()
    run.close()


class Untouchable(list):
    """Private examples that nobody may look at."""

    def __getitem__(self, index):
        raise AssertionError("a private row was read")

    __iter__ = __getitem__  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize("strategy", ["static", "dynamic"])
def test_no_private_row_is_read_for_a_mask_and_nothing_is_reserved(strategy, tmp_path):
    config, evaluator = config_of(**zopo(strategy=strategy)), quadratic()
    tokens = LocalTokens(0)
    plan = mechanism_plan(config, 2.0)
    workspace = Workspace([example(0)], [], evaluator)
    context = RunContext(workspace, config, plan, Tokens(tokens, tokens), tmp_path)
    run = ZerothOrderRun(context, sampler=FrozenSampler([]))
    run._context = dataclasses.replace(run._context, units=Untouchable(run._context.units))
    for step in range(6):
        run._context.method.enter(step)
    assert run.steps_charged == 0
    assert len(run.log.public_values) == {"static": 1, "dynamic": 2}[strategy]
    run.close()


def masks_by_stage(folder, **mask: object) -> list[set[int]]:
    config, evaluator = config_of(**{**zopo(**mask), "num_steps": 14}), quadratic()
    run, masks = opened(folder, config, evaluator, noise=FrozenNoise(2)), []
    with run.log:
        for step in range(14):
            run._step()
            if step in (0, 2, 6):
                masks.append(set(kept_of(evaluator).tolist()))
    return masks


def test_strategies_keep_choose_anew_grow_or_shrink(tmp_path):
    static = masks_by_stage(tmp_path / "s")
    assert static[0] == static[1] == static[2]
    dynamic = masks_by_stage(tmp_path / "d", strategy="dynamic")
    assert dynamic[0] == static[0] != dynamic[1]
    growing = {"keep": {"kind": "stagewise", "start": 0.1, "factor": 2}, "strategy": "incremental"}
    first, second, third = masks_by_stage(tmp_path / "g", **growing)
    assert first < second < third
    assert [len(first), len(second), len(third)] == [5, 11, 23]
    shrinking = {"keep": {"kind": "stagewise", "values": [0.4, 0.2, 0.1]}, "strategy": "incremental"}
    first, second, third = masks_by_stage(tmp_path / "h", **shrinking)
    assert first > second > third


def test_a_replay_takes_the_mask_from_the_log_and_asks_the_model_nothing(tmp_path, monkeypatch):
    config, evaluator = config_of(**zopo(strategy="dynamic")), quadratic()
    thetas(opened(tmp_path, config, evaluator), evaluator)

    def refused(self, points):
        raise AssertionError("the model was asked")

    monkeypatch.setattr(Quadratic, "public_outputs", refused)
    again = quadratic()
    run = opened(tmp_path, config, again, [], tokens=LocalTokens(0))
    with run.log:
        run.replay()
    assert again.state_digest() == evaluator.state_digest()


def test_a_replay_that_finds_another_mask_is_refused(tmp_path, monkeypatch):
    """As where a machine rounds normal values in its own way: the weights would be others, and nobody would know."""
    config = config_of(**zopo(strategy="dynamic"))
    thetas(opened(tmp_path, config, quadratic()), quadratic())

    def with_one_swapped(scores, keep, **settings):
        kept = choose(scores, keep, **settings)
        name = next(name for name, indices in kept.items() if 0 not in indices and len(indices))
        return {**kept, name: torch.cat([torch.zeros(1, dtype=torch.int64), kept[name][1:]])}

    monkeypatch.setattr("trainers.evaluators.parameters.choose", with_one_swapped)
    run = opened(tmp_path, config, quadratic(), [], tokens=LocalTokens(0))
    with run.log, pytest.raises(ValueError, match=r"was written with another mask at its stage 0") as caught:
        run.replay()
    assert "\n" not in str(caught.value)
    old = opened(tmp_path, config, quadratic(), [], tokens=LocalTokens(0))
    old.log.public_digests = [None for _ in old.log.public_digests]  # of a version that did not write them
    with old.log:
        old.replay()


def test_scores_of_a_mask_have_directions_of_their_own(tmp_path):
    config, evaluator = config_of(**zopo()), quadratic()
    asked = []
    true_outputs = evaluator.public_outputs
    evaluator.public_outputs = lambda points: asked.extend(points) or true_outputs(points)  # pyright: ignore
    run = opened(tmp_path, config, evaluator)
    run._context.method.enter(0)
    used = {direction for point in asked for direction, _ in point.terms}
    assert not used & {probe.direction for probe in run._context.method.propose(0)}
    run.close()


def test_synflow_ranks_by_weight_times_slope_as_far_as_directions_resolve_it(tmp_path):
    """R = mean of θ³ at |θ|: the score is 3|θ|³ / d, so many directions rank large weights first."""
    config, evaluator = config_of(**zopo(num_directions=3000)), quadratic()
    run = opened(tmp_path, config, evaluator)
    run._context.method.enter(0)
    run.close()
    largest = set(np.argsort(-np.abs(evaluator.theta))[:11].tolist())
    assert len(largest & set(kept_of(evaluator).tolist())) >= 8


def test_masks_that_keep_nothing_or_nothing_that_counts_are_refused(tmp_path):
    config = config_of(**zopo(keep=0.001))
    run = opened(tmp_path / "none", config, quadratic())
    with pytest.raises(ValueError, match=r"method\.mask: keep 0\.001 keeps none of 58 parameters"), run.log:
        run._step()
    assert run.steps_charged == 0

    deaf = quadratic()
    deaf.public_outputs = lambda points: [1.0 for _ in points]  # pyright: ignore[reportAttributeAccessIssue]
    run = opened(tmp_path / "deaf", config_of(**zopo()), deaf)
    with pytest.raises(ValueError, match="does not depend on the parameters that are kept"), run.log:
        run._step()
    again = opened(tmp_path / "deaf", config_of(**zopo()), deaf)
    with pytest.raises(ValueError, match="does not depend on the parameters that are kept"), again.log:
        again._step()
    deaf.public_outputs = lambda points: [float("nan") for _ in points]  # pyright: ignore[reportAttributeAccessIssue]
    run = opened(tmp_path / "nan", config_of(**zopo()), deaf)
    with pytest.raises(ValueError, match="output for a constant input is not finite"), run.log:
        run._step()


def test_a_mask_too_small_for_the_model_is_refused_before_the_run():
    require_kept(config_of(**zopo()).method, 58)
    require_kept(config_of().method, 1)
    with pytest.raises(ValueError, match=r"keep 0\.001 keeps none of 58 parameters; use at least 1\.7e-02"):
        require_kept(config_of(**zopo(keep=0.001)).method, 58)


# schedules, batches and directions


def test_a_schedule_of_the_clip_clips_at_the_one_in_force_with_the_same_integers_of_noise(tmp_path):
    """An example beyond every clip fills 2³⁰ units at each step, and a unit is worth the C in force."""
    clip_norm = {"kind": "step", "start": 4.0, "factor": 0.5, "every": 1}
    config, evaluator = config_of(name="dp-zo", clip_norm=clip_norm), Quadratic({1: 1e9}, shapes=MATRICES, start=1.0)
    run = opened(tmp_path, config, evaluator, [[1]] * 6, FrozenNoise(scale=0.0))
    thetas(run, evaluator)
    units = [int(values[0]) for values in run.log.releases["step"]]
    assert {abs(value) for value in units} == {GRID_UNITS_PER_CLIP}
    steps = [abs(update[0][1]) for update in evaluator.updates]
    np.testing.assert_allclose(steps, [0.05 * 4.0 * 0.5**step / 20 for step in range(6)])


def test_a_schedule_of_the_clip_changes_nothing_for_what_stays_inside_it(tmp_path):
    updates = []
    for clip_norm in (400.0, {"kind": "geometric", "start": 400.0, "end": 100.0}):
        evaluator = quadratic()
        run = opened(
            tmp_path / str(len(updates)), config_of(name="dp-zo", clip_norm=clip_norm), evaluator, noise=quiet()
        )
        thetas(run, evaluator)
        updates.append([update[0][1] for update in evaluator.updates])
    np.testing.assert_allclose(updates[0], updates[1], rtol=1e-5)


def quiet() -> FrozenNoise:
    return FrozenNoise(scale=0.0)


def test_the_noise_has_the_same_integer_law_whatever_the_clip(tmp_path):
    """FrozenNoise draws from the plan it is given: equal integers at every C of a schedule."""
    logs = []
    for clip_norm in (4.0, {"kind": "geometric", "start": 4.0, "end": 0.01}):
        config = config_of(name="dp-zo", clip_norm=clip_norm)
        run = opened(tmp_path / str(len(logs)), config, quadratic(), [[]] * 6, FrozenNoise(5))
        with run.log:
            list(run.segments())
        logs.append(np.array(run.log.releases["step"]))
    np.testing.assert_array_equal(*logs)


def test_a_schedule_of_the_radius_is_that_of_the_probes(tmp_path):
    config = config_of(name="dp-zo", smoothing={"kind": "step", "start": 0.1, "factor": 0.5, "every": 2})
    run = opened(tmp_path, config, quadratic())
    radii = [run._context.method.propose(step)[0].scale for step in range(6)]
    np.testing.assert_allclose(radii, [0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    run.close()


def test_the_full_batch_is_a_rate_of_one_and_holds_every_example(tmp_path):
    config = config_of(name="dpzero")
    config = RunConfig.model_validate(
        {**config.model_dump(), "privacy": {"rounding_share": 0, "noise_multiplier": 2.0, "expected_batch_size": 100}}
    )
    plan = mechanism_plan(config, 2.0)
    assert plan.sampling_prob == 1.0
    assert PoissonSampler(plan, 100).draw().tolist() == list(range(100))


def test_one_sided_differences_share_the_loss_at_theta_and_centred_ones_need_none(tmp_path):
    losses_PB = np.array([[1.0, 2.0], [1.3, 2.0], [0.4, 2.6], [1.0, 1.1]])
    one = opened(tmp_path / "one", config_of(num_directions=3, difference="one-sided"), quadratic())
    values = one._context.method.values(0, losses_PB)
    expected = (losses_PB[1:] - losses_PB[0]).T / (1e-2 * 3)
    np.testing.assert_allclose(values, expected)
    assert [probe.scale for probe in one._context.method.propose(0)] == [0.0, 1e-2, 1e-2, 1e-2]
    centred = opened(tmp_path / "centred", config_of(num_directions=3, difference="centred"), quadratic())
    np.testing.assert_allclose(
        centred._context.method.values(0, losses_PB[1:]), expected - expected.mean(axis=1, keepdims=True)
    )
    one.close()
    centred.close()


@pytest.mark.parametrize("difference", ["two-sided", "one-sided", "centred"])
def test_the_update_points_against_the_gradient(difference, tmp_path):
    config = config_of(num_directions=40, difference=difference, smoothing=1e-3, clip_norm=1e6, num_steps=30)
    evaluator = quadratic()
    run = opened(tmp_path, config, evaluator, noise=FrozenNoise(scale=0.0))
    aim = np.mean([evaluator_target(n) for n in range(9)], axis=0)
    gradient = evaluator.theta - aim
    with run.log:
        run._step()
    moved = evaluator.theta - (gradient + aim)
    assert moved @ -gradient > 0.3 * np.linalg.norm(moved) * np.linalg.norm(gradient)


def evaluator_target(number: int) -> np.ndarray:
    from tests.support.quadratic import target

    return target(number, 58)


# post-processing


def test_momentum_is_a_running_mean_of_updates(tmp_path):
    config, evaluator = config_of(name="dp-zo", momentum=0.75), quadratic()
    run = opened(tmp_path, config, evaluator)
    theta, velocity = thetas(run, evaluator), np.zeros(58)
    for step in range(6):
        g = float(run.log.releases["step"][step][0]) * 1.5 / GRID_UNITS_PER_CLIP / 20
        velocity = 0.75 * velocity - 0.25 * 0.05 * g * z_of(config, step)
        np.testing.assert_allclose(theta[step + 1] - theta[step], velocity, atol=1e-6)


def test_the_log_holds_the_public_numbers_and_refuses_them_out_of_turn(tmp_path):
    path = tmp_path / "log.jsonl"
    with ReleaseLog(path, {"run": 1}) as log:
        log.publish(0, [0.1, 1e-300], "a")
        with pytest.raises(AssertionError, match="out of turn"):
            log.publish(2, [], "b")
        log.publish(1, [], "c")
    with ReleaseLog(path, {"run": 1}) as log:
        assert log.public_values == [[0.1, 1e-300], []]
        assert log.public_digests == ["a", "c"]
        assert log.num_reserved == {"step": 0, "score": 0}
