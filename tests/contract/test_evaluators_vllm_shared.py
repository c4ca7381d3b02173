"""One vLLM engine for several trials: each has the releases of an engine of its own, whatever the others do."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import torch

from tests.contract.test_evaluators import MANY_TOKENS, ONE_TOKEN, TARGET, Z, moved, one_thread
from tests.contract.test_evaluators_vllm import Case, model_of, start, worker_of
from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.models import WORDS, tokenizer
from tests.support.runs import plan_of, run_config
from trainers.config import ModelConfig, PerformanceConfig, RunConfig, VllmConfig
from trainers.errors import EngineLost
from trainers.evaluators.base import Probe
from trainers.evaluators.self_test import self_test
from trainers.evaluators.vllm import service as vllm_service
from trainers.evaluators.vllm import shared as vllm_shared
from trainers.evaluators.vllm.evaluator import VllmEvaluator
from trainers.evaluators.vllm.service import EngineFault, EngineService, Request
from trainers.evaluators.vllm.shared import SharedEvaluator
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.xdist_group("vllm"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
__all__ = ["one_thread"]

STEPS, TRIALS, SLOTS = 3, 8, 4
PROBES = [Probe(replace(Z[0], index=k), sign * 1e-2) for k in range(3) for sign in (1.0, -1.0)]  # more than slots


class Opened(NamedTuple):
    """An engine in this process, and its model."""

    evaluator: VllmEvaluator
    model: ModelConfig


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[Opened]:
    model = model_of(tmp_path_factory.mktemp("model"), Case("llama", "lora"), init="activation", train="b")
    evaluator = start(model, max_loras=SLOTS)
    yield Opened(evaluator, model)
    evaluator.close()


class Serving:
    """A service on the engine, in a thread of this process; trials join it through its socket."""

    def __init__(self, opened: Opened, address: Path) -> None:
        self._opened, self.address = opened, address
        self._joined: list[SharedEvaluator] = []
        self.service = EngineService(opened.evaluator, num_slots=SLOTS, mixes=False)
        self._listener = Listener(str(address), "AF_UNIX")
        threading.Thread(target=self.service.accept, args=(self._listener,), daemon=True).start()
        self._turns = threading.Thread(target=self._run)
        self._turns.start()

    def _run(self) -> None:
        torch.set_num_threads(1)  # each thread has a number of its own, and it decides how sums are rounded
        self.service.run(self._listener)

    def join(self) -> SharedEvaluator:
        self._joined.append(SharedEvaluator(self._opened.model, PerformanceConfig(), tokenizer(), seed=0))
        return self._joined[-1]

    def end(self) -> None:
        for evaluator in self._joined:
            evaluator.close()
        self._turns.join(60)
        assert not self._turns.is_alive()
        self._opened.evaluator._call("select", 0)


@pytest.fixture
def serving(opened, tmp_path, monkeypatch) -> Iterator[Serving]:
    opened.evaluator.reset()
    monkeypatch.setattr(vllm_service, "GRACE_S", 0.3)
    running = Serving(opened, tmp_path / "engine.sock")

    def joined(*_: Any) -> Any:
        link = Client(str(running.address), "AF_UNIX")
        return link, vllm_shared.asked(link, vllm_shared.JOIN)

    monkeypatch.setattr(vllm_shared, "_joined", joined)
    yield running
    running.end()


def trial_config(number: int) -> RunConfig:
    return run_config(
        method__num_steps=STEPS,
        method__seed=number,
        method__learning_rate=0.05 * (number + 1),
        method__momentum=0.5 * (number == 1),
    )


def train(evaluator: Any, number: int, folder: Path) -> tuple[bytes, str]:
    """Run a trial with masks and noise of its own; return its release log and the digest of its adapter.

    The last trial has fixed first factors of its own; those of the others are equal.
    """
    if number == TRIALS - 1:
        evaluator.use_basis(evaluator.activation_basis(TARGET, 2))
    config = trial_config(number)
    tokens = Tokens(LocalTokens(STEPS), LocalTokens(STEPS))
    examples = [*MANY_TOKENS, *ONE_TOKEN, *TARGET]
    batches = [[(number + step + n) % len(examples) for n in range(4)] for step in range(STEPS)]
    context = RunContext(Workspace(examples, [], evaluator), config, plan_of(config), tokens, folder)
    run = ZerothOrderRun(context, sampler=FrozenSampler(batches), noise=FrozenNoise(number))
    with run.log:
        list(run.segments())
    entries = (folder / LOG_NAME).read_bytes().splitlines()[1:]
    return b"\n".join(entries), evaluator.state_digest()


def in_threads(tasks: list[Any]) -> list[Any]:
    """Return what the tasks return that run at the same time."""
    results: list[Any] = [None] * len(tasks)

    def run(number: int) -> None:
        try:
            results[number] = tasks[number]()
        except Exception as error:  # noqa: BLE001 - the test compares it
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def test_trials_on_one_engine_release_what_each_would_alone(opened, serving, tmp_path):
    """Integer for integer, with frozen noise and masks, although they run at the same time."""
    evaluators = [serving.join() for _ in range(TRIALS)]
    folders = [tmp_path / f"shared-{number}" for number in range(TRIALS)]
    for folder in folders:
        folder.mkdir()
    shared = in_threads([lambda n=n: train(evaluators[n], n, folders[n]) for n in range(TRIALS)])
    serving.end()
    alone = []
    for number in range(TRIALS):
        opened.evaluator.reset()
        folder = tmp_path / f"alone-{number}"
        folder.mkdir()
        alone.append(train(opened.evaluator, number, folder))
    assert shared == alone
    assert len({log for log, _ in alone}) == TRIALS


def test_a_trial_that_dies_or_tests_itself_touches_no_other(opened, serving, tmp_path):
    """One is gone in the middle of a request, one makes a token of the others' rows NaN for itself."""
    staying, leaving, testing = (serving.join() for _ in range(3))
    moved(staying)
    expected = staying.probe(MANY_TOKENS, PROBES)
    assert leaving._link is not None
    leaving._link.send(("_rpc", ("zo_call", "probe", MANY_TOKENS, PROBES * 4), {}))
    leaving._link.close()
    with testing.poisoned(set(range(len(WORDS))) - {10}):
        np.testing.assert_array_equal(staying.probe(MANY_TOKENS, PROBES), expected)
        assert np.isnan(testing.probe(MANY_TOKENS, PROBES)).any()
    assert self_test(testing, ONE_TOKEN, PROBES[:2], max_tokens=40) < 1e-5
    assert staying.generate(ONE_TOKEN, 3) == staying.generate(ONE_TOKEN, 3)
    with pytest.raises(ValueError, match="keeps none of"):
        testing.parameters.restrict([], keep=1e-9)
    testing.export(tmp_path / "exported")
    np.testing.assert_array_equal(staying.probe(MANY_TOKENS, PROBES), expected)
    serving.end()
    assert set(worker_of(opened.evaluator).zo_model._of_trial) == {0}


def probes_of(trial: int, probes: list[Probe]) -> Request:
    return Request(trial, "_rpc", ("zo_call", "probe", MANY_TOKENS, probes), {})


def with_trials(opened: Opened, count: int, *, mixes: bool) -> EngineService:
    """Return a service whose turns the test takes, and whose trials are at different points."""
    service = EngineService(opened.evaluator, num_slots=SLOTS, mixes=mixes)
    for trial in range(1, count + 1):
        service._waiting.append(Request(trial, "join", (), {}))
        service._waiting.append(Request(trial, "_rpc", ("zo_parameters", "add", ((Z[0], 0.05 * trial),)), {}))
    while service._waiting:
        service._turn()
    return service


def test_a_small_request_waits_for_one_turn_of_each_other(opened):
    service = with_trials(opened, 3, mixes=False)
    large, other, small = (probes_of(trial, PROBES[:1] * count) for trial, count in ((1, 40), (2, 12), (3, 2)))
    service._waiting.extend([large, other, small])
    for _ in range(3):
        service._turn()
    assert small.answer.shape == (2, len(MANY_TOKENS))
    assert not other.answered.is_set()
    while service._waiting:
        service._turn()
    assert (len(large.answer), len(other.answer)) == (40, 12)


def test_probes_of_all_trials_are_one_batch_where_neighbours_do_not_matter(opened, monkeypatch):
    """On a CPU they do, by rounding; a trial whose self-test runs is read alone."""
    counts = (6, 3, 2)
    service = with_trials(opened, 3, mixes=False)
    alone = [probes_of(trial, PROBES[:count]) for trial, count in zip((1, 2, 3), counts, strict=True)]
    service._waiting.extend(alone)
    while service._waiting:
        service._turn()
    service._mixes = True
    mixed = [probes_of(trial, PROBES[:count]) for trial, count in zip((1, 2, 3), counts, strict=True)]
    service._waiting.extend(mixed)
    calls, call = [], opened.evaluator._call
    monkeypatch.setattr(opened.evaluator, "_call", lambda method, *of: calls.append(method) or call(method, *of))
    while service._waiting:
        service._turn()
    for one, other in zip(mixed, alone, strict=True):
        np.testing.assert_allclose(one.answer, other.answer, rtol=0, atol=1e-5)
    assert calls.count("probe_together") >= 2
    poison = Request(1, "_rpc", ("zo_call", "poison", 4), {})
    last = [poison, probes_of(1, PROBES[:2]), probes_of(2, PROBES[:2]), probes_of(3, PROBES[:2])]
    service._waiting.extend(last)
    while service._waiting:
        service._turn()
    assert np.isnan(last[1].answer).any()
    assert np.isfinite([of.answer for of in last[2:]]).all()


def test_what_nobody_expects_of_the_engine_ends_one_request(opened, monkeypatch):
    service = with_trials(opened, 2, mixes=False)
    model = worker_of(opened.evaluator).zo_model
    probe = model.probe

    def broken(*of: Any) -> Any:
        if model._trial == 1:
            raise KeyError("private text")
        return probe(*of)

    monkeypatch.setattr(model, "probe", broken)
    first, second = probes_of(1, PROBES), probes_of(2, PROBES)
    service._waiting.extend([first, second])
    while service._waiting:
        service._turn()
    assert isinstance(first.answer, EngineFault)
    assert "KeyError" in str(first.answer)
    assert "private" not in str(first.answer)
    assert np.isfinite(second.answer).all()


OTHER = """
import pickle, sys
from trainers.evaluators.vllm.shared import SharedEvaluator
model, settings, tokenizer, examples, probes = pickle.load(sys.stdin.buffer)
evaluator = SharedEvaluator(model, settings, tokenizer, seed=0)
print("joined", flush=True)
evaluator.probe(examples, probes)
"""


@pytest.mark.vllm_all
def test_processes_that_are_killed(opened, tmp_path, monkeypatch):
    """Of a trial: the others go on. Of the engine: every release is in the log, and a new engine goes on from it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(vllm_service, "GRACE_S", 1.0)
    settings = PerformanceConfig(evaluator="vllm", num_threads=1, vllm=VllmConfig(max_loras=SLOTS, shared=True))
    evaluator = SharedEvaluator(opened.model, settings, tokenizer(), seed=0)
    (engine,) = engines()
    expected = evaluator.probe(MANY_TOKENS, PROBES)
    with subprocess.Popen([sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        pickle.dump((opened.model, settings, tokenizer(), MANY_TOKENS, PROBES * 1000), other.stdin)
        other.stdin.close()
        assert other.stdout.readline() == b"joined\n"
        np.testing.assert_array_equal(evaluator.probe(MANY_TOKENS, PROBES), expected)
        other.kill()
    np.testing.assert_array_equal(evaluator.probe(MANY_TOKENS, PROBES), expected)
    log, digest = train(evaluator, 1, tmp_path)
    assert engines() == [engine]
    engine.kill()
    engine.wait(30)
    with pytest.raises(EngineLost, match="go on from the log"):
        evaluator.probe(MANY_TOKENS, PROBES)
    evaluator.close()
    with closing(SharedEvaluator(opened.model, settings, tokenizer(), seed=0)) as again:
        assert train(again, 1, tmp_path) == (log, digest)
        (engine,) = engines()
    engine.wait(60)


def engines() -> list[psutil.Process]:
    return [of for of in psutil.process_iter() if "trainers.evaluators.vllm.service" in of.cmdline()]
