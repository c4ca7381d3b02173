import numpy as np
import pytest

import trainers.run.base_run
from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import Quadratic, example
from tests.support.runs import open_run, plan_of, run_config
from trainers.config import RunConfig
from trainers.directions import Direction
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens, TokensExhausted
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun


def finish(run) -> list:
    with run.log:
        return list(run.segments())


def test_a_run_takes_its_steps_and_no_more(tmp_path):
    run = open_run(tmp_path)
    assert [steps for steps, _ in finish(run)] == [10]
    assert (run.steps_taken, run.steps_charged) == (10, 10)


def test_loss_falls_without_noise(tmp_path):
    evaluator = Quadratic()
    config = run_config(method__num_steps=200, method__clip_norm=50.0, privacy__noise_multiplier=1e-6)
    finish(open_run(tmp_path, config, evaluator=evaluator))
    assert np.linalg.norm(evaluator.theta - 2.0) < 0.5 * np.linalg.norm(np.zeros(8) - 2.0)


def test_the_log_replays_to_the_same_bits(tmp_path):
    first, second = Quadratic(), Quadratic()
    finish(open_run(tmp_path, evaluator=first))
    again = open_run(tmp_path, evaluator=second, tokens=LocalTokens(0))
    with again.log:
        again.replay()
    assert again.steps_taken == 10
    assert first.state_digest() == second.state_digest()


def test_an_interrupted_step_stays_charged_and_a_fresh_one_is_taken(tmp_path):
    config = run_config(privacy__spare_steps=0)
    batches = [[row] for row in range(20)]
    broken = open_run(tmp_path, config, sampler=FrozenSampler(batches[:4]), tokens=LocalTokens(10))
    with pytest.raises(RuntimeError), broken.log:  # the fifth batch never comes: reserved, not released
        list(broken.segments())
    assert (broken.steps_taken, broken.steps_charged) == (4, 5)
    again = open_run(tmp_path, config, tokens=LocalTokens(10, already_drawn=5))
    assert [steps for steps, _ in finish(again)] == [9]
    assert (again.steps_taken, again.steps_charged) == (9, 10)


def test_a_restarted_run_passes_its_earlier_scores_with_the_same_theta(tmp_path):
    config = run_config(score__times=2)
    first, second = Quadratic(), Quadratic()

    def thetas(evaluator, tokens):
        run = open_run(tmp_path, config, evaluator=evaluator, tokens=tokens)
        with run.log:
            return [(steps, evaluator.state_digest()) for steps, _ in run.segments()]

    assert thetas(first, LocalTokens(10)) == thetas(second, LocalTokens(0))


def test_a_finished_run_takes_no_further_token(tmp_path):
    finish(open_run(tmp_path))
    again = open_run(tmp_path, tokens=LocalTokens(0))
    assert [steps for steps, _ in finish(again)] == [10]


def test_a_token_is_drawn_before_anything_is_read(tmp_path):
    run = open_run(tmp_path, sampler=FrozenSampler([]), tokens=LocalTokens(0))
    with run.log:
        assert [steps for steps, _ in run.segments()] == [0]  # the empty sampler was never asked
    assert run.steps_charged == 0


def test_tokens_refuse_one_step_too_many():
    tokens = LocalTokens(2)
    tokens.draw(0)
    tokens.draw(1)
    with pytest.raises(TokensExhausted, match="step 2 was refused: all 2 planned"):
        tokens.draw(2)


def test_scores_are_evenly_spaced_and_end_at_the_last_step(tmp_path):
    run = open_run(tmp_path, run_config(score__times=3, method__num_steps=10))
    run.close()
    assert run.score_points() == [4, 7, 10]


def test_frozen_masks_and_noise_give_the_same_log(tmp_path):
    def releases(folder):
        run = open_run(tmp_path / folder, sampler=FrozenSampler([[1, 2, 3]] * 10), noise=FrozenNoise(3))
        finish(run)
        return [values.tolist() for values in run.log.releases["step"]]

    assert releases("a") == releases("b")


def test_mezo_clips_nothing_and_adds_nothing(tmp_path):
    config = run_config(method__name="mezo", method__num_directions=1, privacy__noise_multiplier=None)
    run = open_run(tmp_path, config, sampler=FrozenSampler([[1, 2]] * 10))
    finish(run)
    assert all(np.abs(values).max() > 0 for values in run.log.releases["step"])
    assert isinstance(run.config, RunConfig)


def test_a_log_of_an_earlier_version_is_taken_up(tmp_path, monkeypatch):
    """Its header lacks the settings that did not exist; the run did what their defaults say."""
    new = ("mechanism.noise", "mechanism.adjacency", "data.user_column", "score.metric", "score.loss_bound")
    with monkeypatch.context() as earlier:
        true_header = trainers.run.base_run.header_of
        earlier.setattr(
            trainers.run.base_run,
            "header_of",
            lambda *parts: {k: v for k, v in true_header(*parts).items() if k not in new},
        )
        finish(open_run(tmp_path, sampler=FrozenSampler([[1, 2]] * 10)))
    again = open_run(tmp_path, tokens=LocalTokens(0))
    assert [steps for steps, _ in finish(again)] == [10]
    with pytest.raises(ValueError, match=r"mechanism\.noise: 'gaussian' in the log, 'laplace' now"):
        open_run(tmp_path, run_config(privacy__noise="laplace"))


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_a_run_of_users_replays_to_the_same_bits(tmp_path, noise):
    users = {"data__user_column": "user", "data__max_examples_per_user": 2, "data__num_users": 25}
    config = run_config(privacy__noise=noise, **users)
    names = [f"user {number % 25}" for number in range(100)]
    first, second = Quadratic(), Quadratic()
    finish(open_run(tmp_path, config, evaluator=first, users=names))
    finish(open_run(tmp_path, config, evaluator=second, users=names, tokens=LocalTokens(0)))
    assert first.state_digest() == second.state_digest()


def test_a_step_looks_at_no_more_than_its_share_of_a_user(tmp_path):
    users = {"data__user_column": "user", "data__max_examples_per_user": 3, "data__num_users": 25}
    seen = []

    class Watching(Quadratic):
        def probe(self, batch, probes):
            seen.append([one.prompt_ids[0] for one in batch])
            return super().probe(batch, probes)

    names = ["many"] * 90 + [f"user {number}" for number in range(10)]
    config = run_config(method__num_steps=30, **users)
    finish(open_run(tmp_path, config, evaluator=Watching(), sampler=FrozenSampler([[0, 1]] * 30), users=names))
    assert all(len(batch) == len(set(batch)) == 4 and batch[-1] == 90 for batch in seen)
    assert len({tuple(batch) for batch in seen}) > 25  # chosen afresh at every step


def test_one_token_gives_every_metric_of_the_confusion_matrix(tmp_path):
    private = {"data__validation": "v.jsonl", "score__on": "private", "score__num_examples": 10, "score__metric": "f1"}
    tokens = LocalTokens(11)
    run = open_run(tmp_path, run_config(**private), tokens=tokens)
    (_, score), *_ = finish(run)
    assert run.scores_charged == 1
    assert set(run.metrics) == {"accuracy", "f1", "precision", "recall"}
    assert score == run.metrics["f1"]


def test_base_weights_are_hashed_once_for_all_runs_of_a_workspace(tmp_path):
    class Counting(Quadratic):
        digests = 0

        def state_digest(self):
            self.digests += 1
            return super().state_digest()

    config = run_config(resources__check_steps=100)
    workspace = Workspace([example(n) for n in range(100)], [], Counting())
    workspace.evaluator.apply([(Direction(1, 1, 0, "rademacher"), 1.0)])  # what is hashed is the base nevertheless
    headers = []
    for name in ("first", "second"):
        tokens = LocalTokens(config.method.num_steps)
        run = ZerothOrderRun(RunContext(workspace, config, plan_of(config), Tokens(tokens, tokens), tmp_path / name))
        with run.log:
            list(run.segments())
        headers.append((tmp_path / name / LOG_NAME).read_text().splitlines()[0])
    assert workspace.evaluator.digests == 1
    assert headers[0] == headers[1]
    assert f'"base_digest":"{Quadratic().state_digest()}"' in headers[0]
