"""A clip that follows norms: it comes to where they are from afar, and it is a function of the log alone."""

import numpy as np
import pytest

import trainers.run.step
from tests.support.frozen import FrozenSampler
from tests.support.quadratic import Quadratic
from tests.support.runs import open_run, plan_of, run_config, step_sum
from trainers.config import RunConfig
from trainers.config.auto import AutoClip
from trainers.mechanism.clipping import clip_to_grid
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.plan import NORM_UNITS, MechanismPlan
from trainers.mechanism.tokens import LocalTokens
from trainers.run.auto_clip import FollowedClip

STEPS = 20


def auto(start: float = 5.0, low: float | None = None, high: float | None = None) -> AutoClip:
    return AutoClip(kind="auto", start=start, low=low, high=high)


def plan(noise_multiplier: float, batch_size: float = 64.0) -> MechanismPlan:
    return MechanismPlan(0.01, batch_size, 4, 1, 1.0, noise_multiplier, has_norm=True)


def followed(start: float, norms_N: np.ndarray, mechanism: MechanismPlan, steps: int) -> list[float]:
    """Return C after each step, of batches of the size that is expected and noise of the plan."""
    clip, generator, path = FollowedClip(auto(start)), np.random.default_rng(0), []
    noise = np.random.default_rng(1).standard_normal(steps) * mechanism.noise_scale_grid_units
    for step in range(steps):
        batch_N = generator.choice(norms_N, int(mechanism.expected_batch_size))
        measures_N = np.clip(1.0 - batch_N / clip.norm, -1.0, 1.0) * NORM_UNITS
        clip.follow(int(measures_N.sum() + noise[step]), mechanism)
        path.append(clip.norm)
    return path


@pytest.mark.parametrize(("noise_multiplier", "steps"), [(1.0, 60), (8.0, 150), (40.0, 2000)])
@pytest.mark.parametrize("start", [0.2, 20.0])
def test_it_comes_to_the_norms_from_ten_times_below_and_above(start, noise_multiplier, steps):
    norms_N = np.exp(np.random.default_rng(2).normal(np.log(2.0), 0.5, 4000))
    path = followed(start, norms_N, plan(noise_multiplier), steps)
    assert np.mean(path[-steps // 4 :]) == pytest.approx(np.minimum(norms_N, 4.0).mean(), rel=0.35)


def test_noise_alone_leaves_it_about_where_it_was():
    """Where every row is at the clip the measure is 0: what moves C is noise, of a quarter in ln C."""
    path = [np.log(c) for c in followed(2.0, np.array([2.0]), plan(16.0), 4000)]
    assert np.mean(path) == pytest.approx(np.log(2.0), abs=0.1)
    assert np.std(path) < 0.4


def test_it_stays_in_its_range():
    clip = FollowedClip(auto(2.0, 1.5, 2.5))
    for released, end in [(NORM_UNITS * 10**6, 1.5), (-NORM_UNITS * 10**6, 2.5)]:
        for _ in range(20):
            clip.follow(released, plan(1.0))
        assert clip.norm == end


def config(**changes: object) -> RunConfig:
    return run_config(method__num_steps=STEPS, method__clip_norm={"kind": "auto", "start": 0.2}, **changes)


def path_of(releases: list[np.ndarray], of: RunConfig) -> list[float]:
    """Return C before each step and after the last one, from the releases by the rule as docs/noise.md writes it."""
    mechanism, path = plan_of(of), [0.2]
    whole = 2**27 * mechanism.expected_batch_size
    noise = 2.0 * 2**30 / whole
    for noisy_K in releases:
        x = min(0.25, 1 / (8 * (noise * noise))) * (int(noisy_K[-1]) / whole)
        factor = 1.0 + min(abs(x), 0.25)
        path.append(min(max(path[-1] / factor if x > 0 else path[-1] * factor, 0.01), 20.0))
    return path


def test_it_is_a_function_of_the_log_also_after_kills_and_on_replay(tmp_path):
    of, tokens = config(), LocalTokens(10**6)
    for _ in range(3):  # each run ends in the middle of its batches, after it has drawn a token
        run = open_run(tmp_path, of, sampler=FrozenSampler([range(9)] * 6), tokens=tokens)
        with pytest.raises(RuntimeError), run.log:
            list(run.segments())
    run = open_run(tmp_path, of, sampler=FrozenSampler([range(9)] * 2), tokens=tokens)
    with run.log:
        list(run.segments())
    replayed = open_run(tmp_path, of, tokens=LocalTokens(0))
    with replayed.log:
        replayed.replay()
    path = path_of(run.log.releases["step"], of)
    assert len(path) == STEPS + 1
    assert run._context.method.plan_at(STEPS).clip_norm == replayed._context.method.plan_at(STEPS).clip_norm == path[-1]
    assert run._workspace.evaluator.state_digest() == replayed._workspace.evaluator.state_digest()


def sums_and_path(folder, of: RunConfig) -> tuple[list[np.ndarray], list[float]]:
    """Return what each step's batch adds up to, and C before it, as the step itself sees them."""
    seen, clips, true_sum = [], [], trainers.run.step.clipped_sum

    def watched(values_BK, mechanism):
        seen.append(true_sum(values_BK, mechanism))
        clips.append(mechanism.clip_norm)
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers.run.step, "clipped_sum", watched)
        run = open_run(folder, of, sampler=FrozenSampler([range(9)] * STEPS), noise=ExactNoise())
        with run.log:
            list(run.segments())
    return run.log.releases["step"], clips


def test_the_clip_of_every_step_follows_from_the_releases_before_it(tmp_path):
    releases, clips = sums_and_path(tmp_path, config())
    assert clips == path_of(releases, config())[:-1]
    assert len(set(clips)) > STEPS // 2


def test_a_clip_from_measures_without_noise_is_found(tmp_path, monkeypatch):
    """The wrong code: C follows the sum, and the noise is added for the log alone."""
    sums, true_sum, true_follow = [], trainers.run.step.clipped_sum, FollowedClip.follow

    def remember(values_BK, mechanism):
        sums.append(int(true_sum(values_BK, mechanism)[-1]))
        return true_sum(values_BK, mechanism)

    monkeypatch.setattr(trainers.run.step, "clipped_sum", remember)
    monkeypatch.setattr(
        FollowedClip, "follow", lambda self, released, mechanism: true_follow(self, sums[-1], mechanism)
    )
    releases, clips = sums_and_path(tmp_path, config())
    assert clips != path_of(releases, config())[:-1]


def test_users_have_one_measure_each_of_their_mean(tmp_path):
    """A user of five rows adds what one row adds, at most one clip in all; its measure is not five times as large."""
    evaluator = Quadratic(dict.fromkeys(range(1, 6), 1000000000.0))
    users = {"data__user_column": "user", "data__num_users": 100, "data__max_examples_per_user": 5}
    of = {**users, "method__clip_norm": {"kind": "auto", "start": 0.2}}
    units = [int(value) for value in step_sum(tmp_path, [1], evaluator, ["a", *["b"] * 5], **of)]
    assert units[-1] == -NORM_UNITS
    assert sum(value * value for value in units) <= 2**60


def test_the_measure_of_an_empty_batch_is_noise_and_a_norm_of_nothing_is_small():
    mechanism = plan(1.0)
    assert clip_to_grid(np.empty((0, 4)), mechanism).shape == (0, 5)
    assert clip_to_grid(np.zeros((1, 4)), mechanism)[0, -1] == NORM_UNITS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method__smoothing": "auto"}, "must be a number, or a schedule"),
        ({"method__clip_norm": {"kind": "auto", "start": 1, "low": 2}}, "low ≤ start ≤ high"),
        ({"method__clip_norm": "auto", "privacy__noise": "laplace"}, "needs Gaussian noise"),
        (
            {"method__clip_norm": "auto", "method__name": "mezo", "privacy__noise_multiplier": None},
            "MeZO has none",
        ),
    ],
)
def test_what_has_no_measure_is_refused(changes, words):
    if changes.get("method__name") == "mezo":
        changes = {**changes, "method__num_directions": 1, "privacy__rounding_share": None}
    with pytest.raises(ValueError, match=words):
        run_config(**changes)
