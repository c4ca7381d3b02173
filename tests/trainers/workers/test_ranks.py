"""Several ranks on the quadratic model: who does what, in what order, and what is left of a rank that dies."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import trainers.run.step
from tests.support.frozen import FrozenNoise
from tests.support.quadratic import Quadratic
from tests.support.ranks import in_threads, only_lost, open_run
from tests.support.runs import open_run as open_alone
from tests.support.runs import plan_of, run_config
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.sampling import PoissonSampler
from trainers.mechanism.tokens import LocalTokens
from trainers.workers.exchange import GlooGroup, PeerLost
from trainers.workers.ranks import Ranks
from trainers.workers.shared_entropy import SharedEntropy

LAYOUTS = [(1, 1), (2, 1), (4, 1), (2, 2), (4, 2)]
BATCHES = [[1, 2, 3, 8, 13, 39], [], [0], [4, 5, 6, 7], range(40), [38, 3, 1, 0]]
USERS = [f"user {number % 15}" for number in range(40)]
OF_USERS = {
    "data__user_column": "user",
    "data__max_examples_per_user": 40,
    "data__num_users": 15,
    "privacy__expected_batch_size": 5,
}


def config(**changes):
    return run_config(**{"method__num_steps": len(BATCHES), "data__num_examples": 40, **changes})


def log_of(folder: Path, size: int, group_size: int, settings, **how) -> str:
    """Return the log of a run of so many ranks, after seeing that all ended with the same weights."""
    evaluators = [Quadratic() for _ in range(size)]

    def job(ranks: Ranks) -> str:
        run = open_run(ranks, folder, settings, evaluator=evaluators[ranks.rank], **{"batches": BATCHES, **how})
        with run.log:
            assert [steps for steps, _ in run.segments()] == [len(BATCHES)]
        return evaluators[ranks.rank].state_digest()

    digests = in_threads(size, job, group_size)
    assert len(set(map(str, digests))) == 1, digests
    return (folder / LOG_NAME).read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method__difference": "one-sided"},
        {"method__difference": "centred"},
        {"privacy__noise": "laplace"},
        {"method__momentum": 0.5},
        {"method__clip_norm": {"kind": "auto", "start": 0.2}},
        {"method__name": "dp-zopo", "method__num_directions": 1, "method__mask": {"keep": 0.5}},
        {"method__name": "mezo", "method__num_directions": 1, "privacy__noise_multiplier": None},
        OF_USERS,
    ],
    ids=str,
)
def test_any_number_of_ranks_writes_the_log_of_one(tmp_path, changes):
    settings = config(**changes)
    how = (
        {"users": USERS, "batches": [[row for row in one if row < 15] for one in BATCHES]}
        if changes is OF_USERS
        else {}
    )
    logs = [log_of(tmp_path / str(number), *layout, settings, **how) for number, layout in enumerate(LAYOUTS)]
    assert len(set(logs)) == 1


BREAKS = {
    "noise on every rank": lambda patch: _patched(
        patch,
        trainers.run.step,
        "_private_sum",
        lambda true, context, step: true(context, step) + _noise(context, step),
    ),
    "a unit in two shards": lambda patch: patch.setattr(Ranks, "shard_of", lambda self, units: units[self._shard :]),
    "a unit in no shard": lambda patch: patch.setattr(
        Ranks, "shard_of", lambda self, units: units[self._shard :: self._num_shards][1:]
    ),
    "a rank that is not summed": lambda patch: _patched(
        patch, GlooGroup, "sum_to_rank_0", lambda true, self, values: true(self, values * (self.rank != 1))
    ),
    "a batch that is summed by every rank of its group": lambda patch: patch.setattr(
        Ranks, "gather_losses", lambda self, probes, size, measure: measure(probes)
    ),
    "losses in the order of another rank": lambda patch: _patched(
        patch, GlooGroup, "gather", lambda true, self, values, **how: true(self, values, **how)[::-1]
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_comparison_of_logs_finds_what_is_wrong(tmp_path, monkeypatch, name):
    good = log_of(tmp_path / "one", 1, 1, config())
    BREAKS[name](monkeypatch)
    logs = {log_of(tmp_path / f"{size}-{group}", size, group, config()) for size, group in ((2, 1), (2, 2))}
    assert logs != {good}


def _patched(patch, owner, name, broken):
    true = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **how: broken(true, *args, **how))


def _noise(context, step):
    return FrozenNoise(1).draw(context.method.plan_at(step)) * (not context.ranks.is_rank_0)


def test_every_unit_is_in_one_shard():
    for size in range(1, 9):
        shards = [_of(rank, size).shard_of(range(21)) for rank in range(size)]
        assert Counter(row for shard in shards for row in shard) == Counter(range(21))


def _of(rank: int, size: int, group_size: int = 1) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    ranks._shard, ranks._num_shards = rank // group_size, size // group_size
    return ranks


def test_no_rank_reads_a_row_before_the_reservation_is_on_disk(tmp_path):
    seen = []

    def job(ranks):
        class Watching(PoissonSampler):
            def draw(self):
                lines = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()]
                seen.append(Counter(line.get("type") for line in lines))
                return super().draw()

        settings = config()
        sampler = Watching(plan_of(settings), len(ranks.shard_of(range(40))), ranks.entropy)
        run = open_run(ranks, tmp_path, settings, sampler=sampler)
        with run.log:
            list(run.segments())

    assert in_threads(3, job) == [None] * 3
    assert len(seen) == 3 * len(BATCHES)
    assert all(types["RESERVE"] == types["RELEASE"] + 1 for types in seen)


def test_a_release_is_on_disk_before_any_rank_moves(tmp_path):
    late = []

    def job(ranks):
        class Watching(Quadratic):
            def apply(self, update, *, momentum=0.0):
                released = (tmp_path / LOG_NAME).read_text().count('"RELEASE"')
                late.append(released < len(self.updates) + 1)
                super().apply(update, momentum=momentum)

        run = open_run(ranks, tmp_path, config(), evaluator=Watching())
        with run.log:
            list(run.segments())

    assert in_threads(2, job) == [None] * 2
    assert late == [False] * 2 * len(BATCHES)


def test_a_refused_token_ends_the_run_on_every_rank(tmp_path):
    def job(ranks):
        run = open_run(ranks, tmp_path, config(), tokens=LocalTokens(4 if ranks.is_rank_0 else 0))
        with run.log:
            return [steps for steps, _ in run.segments()]

    assert in_threads(3, job) == [[4]] * 3


@pytest.mark.parametrize("dies", [0, 1, 2])
def test_a_rank_that_dies_in_a_step_releases_nothing_and_the_run_goes_on_with_fewer(tmp_path, dies):
    class Died(Exception):
        pass

    def job(ranks, last_words=True):
        class Dying(Quadratic):
            def probe(self, batch, probes):
                if last_words and ranks.rank == dies and len(self.updates) == 3:
                    raise Died
                return super().probe(batch, probes)

        evaluator = Dying()
        tokens = LocalTokens(10, already_drawn=0 if last_words else 4)
        run = open_run(ranks, tmp_path, config(), evaluator=evaluator, tokens=tokens if ranks.is_rank_0 else None)
        with run.log:
            list(run.segments())
        return run.steps_taken, run.steps_charged if ranks.is_rank_0 else None, evaluator.state_digest()

    results = in_threads(3, job)
    assert isinstance(results.pop(dies), Died)
    assert only_lost(results)
    entries = [json.loads(line)["type"] for line in (tmp_path / LOG_NAME).read_text().splitlines()[1:]]
    assert entries == ["RESERVE", "RELEASE"] * 3 + ["RESERVE"]

    (taken, charged, digest), (_, _, other) = in_threads(2, lambda ranks: job(ranks, last_words=False))
    assert (taken, charged) == (len(BATCHES), len(BATCHES) + 1)
    alone = Quadratic()
    again = open_alone(tmp_path, config(), evaluator=alone, tokens=LocalTokens(0), num_examples=40)
    with again.log:
        again.replay()
    assert digest == other == alone.state_digest()


def test_ranks_that_do_not_see_the_same_are_refused(tmp_path):
    def other_rows(ranks):
        open_run(ranks, tmp_path / "rows", config(), num_examples=40 - ranks.rank)

    def other_weights(ranks):
        open_run(ranks, tmp_path / "weights", config(), evaluator=Quadratic(start=1.0 + ranks.rank))

    for job, what in ((other_rows, "examples"), (other_weights, "base weights")):
        for result in in_threads(2, job):
            assert isinstance(result, ValueError)
            assert what in str(result)


def corrupted(folder: Path, corruptions: int, size: int = 3) -> list:
    """Take a run in which the weights of rank 1 are wrong after step 2, and again as often as said."""
    left = [corruptions]

    def job(ranks):
        class Failing(Quadratic):
            def apply(self, update, *, momentum=0.0):
                super().apply(update, momentum=momentum)
                if ranks.rank == 1 and left[0] and len(self.updates) >= 2:
                    left[0] -= 1
                    self.parameters.add([(update[0][0], 1.0)], momentum=0.0)

        evaluator = Failing()
        run = open_run(ranks, folder, config(resources__check_steps=2), evaluator=evaluator)
        with run.log:
            list(run.segments())
        return evaluator.state_digest()

    return in_threads(size, job)


@pytest.mark.parametrize("size", [2, 3])
def test_a_rank_whose_weights_differ_is_rebuilt_from_the_log(tmp_path, caplog, size):
    with caplog.at_level(logging.WARNING):
        digests = corrupted(tmp_path, 1, size)
    alone = Quadratic()
    again = open_alone(tmp_path, config(), evaluator=alone, tokens=LocalTokens(0), num_examples=40)
    with again.log:
        again.replay()
    assert set(digests) == {alone.state_digest()}
    assert (tmp_path / LOG_NAME).read_text().count('"RELEASE"') == len(BATCHES)
    who = "rank 1 differ" if size == 3 else "rank 0, 1 differ"  # two that differ may both be wrong
    assert {record.getMessage().partition("weights of ")[2] for record in caplog.records} == {
        f"{who}, and are rebuilt from the release log"
    }


def test_a_rank_that_differs_again_stops_the_run(tmp_path):
    results = corrupted(tmp_path, 100)
    assert all(isinstance(result, RuntimeError) and "differ again" in str(result) for result in results)


def test_shared_entropy_draws_alike_in_a_group_and_apart_elsewhere():
    def drawn(shard, key):
        entropy = SharedEntropy(shard)
        entropy.renew(key * 32)
        return [entropy.randbytes(16), entropy.randbytes(16), entropy.sample(range(1000), 5)]

    assert drawn(0, b"a") == drawn(0, b"a")
    others = [drawn(0, b"a"), drawn(1, b"a"), drawn(0, b"b")]
    flat = [repr(part) for one in others for part in one]
    assert len(set(flat)) == len(flat)


def test_nothing_is_drawn_without_a_key():
    entropy = SharedEntropy(0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no key"):
            entropy.randbytes(1)
        entropy.renew(b"a" * 32)
        entropy.forget()


def masks(size: int, group_size: int, steps: int = 60, num_units: int = 64) -> np.ndarray:
    """Return which units each rank drew in each step, bool [steps, ranks, units], by the real sampler."""
    plan = plan_of(run_config(method__num_steps=steps, data__num_examples=40, privacy__expected_batch_size=20))

    def job(ranks):
        sampler, drawn = PoissonSampler(plan, num_units, ranks.entropy), np.zeros((steps, num_units), dtype=bool)
        for step in range(steps):
            ranks.reserve_step(lambda: None)
            drawn[step, sampler.draw()] = True
            ranks.sum_to_rank_0(np.zeros(1, dtype=np.int64))
        return drawn

    return np.stack(in_threads(size, job, group_size), axis=1)


@pytest.mark.parametrize(("size", "group_size"), [(2, 1), (2, 2), (4, 2)])
def test_batches_are_alike_in_a_group_and_independent_between_groups_and_steps(size, group_size):
    """Each count is binomial; fails by chance less than once in 10^5 runs."""
    drawn = masks(size, group_size)
    steps, _, units = drawn.shape
    groups = drawn.reshape(steps, size // group_size, group_size, units)
    assert (groups == groups[:, :, :1]).all()
    fair = [groups[:, g, 0] for g in range(size // group_size)]
    for one in fair:
        assert abs(one.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(one.size)
    pairs = [(a, b) for i, a in enumerate(fair) for b in fair[i + 1 :]] + [(one[1:], one[:-1]) for one in fair]
    for a, b in pairs:
        assert abs((a == b).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(a.size)


@pytest.mark.parametrize("how", ["one key for all ranks", "one key for all steps"])
def test_that_comparison_finds_shared_keys(monkeypatch, how):
    if how == "one key for all ranks":
        patched = _keyed_alike
        monkeypatch.setattr("trainers.workers.ranks.secrets.SystemRandom", patched)
        layout = (2, 1)
    else:
        monkeypatch.setattr("trainers.workers.ranks.secrets.token_bytes", lambda n: b"k" * n)
        layout = (2, 2)
    with pytest.raises(AssertionError):
        test_batches_are_alike_in_a_group_and_independent_between_groups_and_steps(*layout)


def _keyed_alike():
    entropy = SharedEntropy(0)
    entropy.renew(b"k" * 32)
    return entropy


def test_a_user_is_looked_at_through_the_same_examples_on_every_rank_of_a_group(tmp_path):
    users = {"data__user_column": "user", "data__max_examples_per_user": 2, "data__num_users": 4}
    seen: dict[int, list] = {0: [], 1: [], 2: [], 3: []}

    def job(ranks):
        class Watching(Quadratic):
            def probe(self, batch, probes):
                seen[ranks.rank].append([one.prompt_ids[0] for one in batch])
                return super().probe(batch, probes)

        names = [f"user {number % 4}" for number in range(40)]
        settings = config(privacy__expected_batch_size=4, **users)
        run = open_run(ranks, tmp_path, settings, evaluator=Watching(), users=names)
        with run.log:
            list(run.segments())

    in_threads(4, job, 2)
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert all(len(batch) == 4 for batch in seen[0] + seen[2])  # two users a shard, two examples each
    assert len({tuple(batch) for batch in seen[0]}) > 1


def test_a_lost_rank_is_told_by_its_own_name():
    def job(ranks):
        if ranks.rank == 0:
            return
        ranks.reserve_step(lambda: None)

    assert isinstance(in_threads(2, job)[1], PeerLost)
