"""What every method promises, whatever it chooses: the clip bounds one example, the log is the checkpoint, θ learns.

Every method, and every choice beyond the papers, on a quadratic of three tensors; every method on small models, whole
and LoRA, causal, masked and with a classification head; and on the demo's model and data, where it learns.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.config.loading import load_run
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.privacy.accountant.events import Release, read
from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.models import MASK_ID, save_model, tokenizer
from tests.support.quadratic import MATRICES, Quadratic, target
from tests.support.runs import open_run, plan_of, run_config
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig, RunConfig
from trainers.config.mechanism import rounding_share
from trainers.evaluators.base import Example, LossEvaluator
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, WORD_RANGE
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workspace import open_workspace

STAGES = {"stage_steps": 2, "proximal": 0.5}
CASES: dict[str, dict] = {
    "mezo": {"name": "mezo"},
    "dp-zo": {"name": "dp-zo"},
    "dp-zo-K3": {"name": "dp-zo", "num_directions": 3},
    "dpzero-sphere": {"name": "dpzero"},
    "dpzero-gaussian": {"name": "dpzero", "direction": "gaussian"},
    "dp-zoso": {"name": "dp-zoso", **STAGES},
    "dp-zoso-K3": {
        "name": "dp-zoso",
        "num_directions": 3,
        **STAGES,
        "smoothing": {"kind": "stagewise", "values": [1e-2, 5e-3]},
        "clip_norm": {"kind": "stagewise", "start": 2.0, "factor": 0.5},
    },
    "dp-zopo": {"name": "dp-zopo", **STAGES, "mask": {"keep": 0.2}},
    "dp-zopo-dynamic": {
        "name": "dp-zopo",
        **STAGES,
        "num_directions": 2,
        "mask": {"keep": 0.3, "strategy": "dynamic", "rank": "tensor", "num_directions": 4},
    },
    "dp-zopo-incremental": {
        "name": "dp-zopo",
        **STAGES,
        "direction": "sphere",
        "momentum": 0.5,
        "mask": {
            "keep": {"kind": "stagewise", "start": 0.2, "factor": 2},
            "strategy": "incremental",
            "scores": "magnitude",
        },
    },
    "dp-aggzo": {"name": "dp-aggzo", "num_directions": 4},
    "one-sided": {"num_directions": 3, "difference": "one-sided"},
    "centred": {"num_directions": 4, "difference": "centred"},
    "low-rank": {"num_directions": 3, "direction": "low-rank", "direction_rank": 2},
    "activation": {"num_directions": 3, "direction": "activation", "direction_rank": 5},
    "activation-in-stages": {"name": "dp-zoso", **STAGES, "direction": "activation", "direction_rank": 4},
    "public-gradient": {"num_directions": 2, "direction": "public-gradient", "direction_rank": 3},
    "block-local": {"num_directions": 3, "support": "layer"},
    "block-local-sphere": {"name": "dpzero", "support": "layer", "momentum": 0.5},
    "block-local-activation": {**dict.fromkeys(["num_directions", "direction_rank"], 3), "direction": "activation"}
    | {"support": "layer"},
    "block-local-learned": {"num_directions": 4, "support": "layer", "block_shares": "learned"},
    "shrinkage": {"num_directions": 3, "shrinkage": 0.9},
    "momentum": {"num_directions": 3, "momentum": 0.8},
    "schedules": {
        "num_directions": 3,
        "smoothing": {"kind": "geometric", "start": 1e-2, "end": 1e-3},
        "clip_norm": {"kind": "step", "start": 3.0, "factor": 0.5, "every": 2},
        "learning_rate": {"kind": "cosine", "start": 0.05, "end": 0.005},
    },
    "auto-clip": {"num_directions": 3, "clip_norm": {"kind": "auto", "start": 0.3}},
    "auto-clip-in-stages": {"name": "dp-zoso", **STAGES, "clip_norm": "auto", "shrinkage": 0.9},
}
SETTINGS = {"num_steps": 6, "learning_rate": 0.05, "smoothing": 1e-2, "clip_norm": 1.5}


def config_of(case: str, **changes: object) -> RunConfig:
    method = {**SETTINGS, **CASES[case], **{key: value for key, value in changes.items() if "__" not in key}}
    spec = METHODS[str(method.get("name", "dp-aggzo"))]
    rest = {key: value for key, value in changes.items() if "__" in key}
    if not spec.private:
        rest["privacy__noise_multiplier"] = None
    base = run_config(method__name="mezo", method__num_directions=1, privacy__noise_multiplier=None)
    values = base.model_dump(mode="json", include={"name", "data", "task", "model"})
    values["data"]["public"] = "public.jsonl"
    if method.get("direction") == "activation":
        values["model"]["trainable"] = "all-linear"
    privacy = {"noise_multiplier": 2.0, "expected_batch_size": 20}
    privacy |= {key.removeprefix("privacy__"): value for key, value in rest.items()}
    return RunConfig.model_validate({**values, "method": method, "privacy": privacy})


def quadratic(losses_of: dict[int, float] | None = None) -> Quadratic:
    return Quadratic(losses_of, shapes=MATRICES, start=1.0)


def finished(run: ZerothOrderRun) -> ZerothOrderRun:
    with run.log:
        list(run.segments())
    return run


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors this small are no faster on two, and slower beside another process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=CASES)
def case(request) -> str:
    return request.param


def test_every_method_of_the_catalogue_is_held_to_the_contract():
    zeroth_order = {name for name, spec in METHODS.items() if spec.order == "zeroth"}
    assert {config_of(case).method.name for case in CASES} == zeroth_order


@pytest.mark.parametrize("canary_loss", [np.nan, np.inf, -np.inf, 1e300, 1e6, 3.0])
def test_one_example_moves_a_release_by_at_most_one_clip(case, canary_loss, tmp_path):
    """Replay on D and D ∪ {canary} with frozen noise: Σ (Δ units)² ≤ (2³⁰)², at every step of the run."""
    config = config_of(case)
    if config.method.name == "mezo":
        pytest.skip("MeZO has no clip")
    once = finished(open_run(tmp_path / "a", config, evaluator=quadratic(), sampler=FrozenSampler([range(5)] * 6)))
    for step in range(config.method.num_steps):
        sums = []
        for canary in ([], [99]):
            evaluator = quadratic({99: canary_loss})
            batches = [[*range(5), *canary]] if step == 0 else [range(5)] * step + [[*range(5), *canary]]
            sums.append(_sum_at(tmp_path / f"{step}-{len(canary)}", config, evaluator, batches, step, once))
        difference = sums[1] - sums[0]
        assert sum(int(value) ** 2 for value in difference) <= GRID_UNITS_PER_CLIP**2


def _sum_at(
    folder: Path, config: RunConfig, evaluator: Quadratic, batches: list, step: int, once: ZerothOrderRun
) -> np.ndarray:
    """Return the clipped sum of a step on the θ that the first releases of `once` lead to."""
    from trainers.run.step import _private_sum

    run = open_run(folder, config, evaluator=evaluator, sampler=FrozenSampler(batches[-1:]))
    with run.log:
        for earlier in range(step):
            run.log.reserve("step", earlier)
            run.log.release("step", earlier, once.log.releases["step"][earlier])
        run.replay()
        run._context.method.enter(step)
        return _private_sum(run._context, step)


def test_what_is_claimed_is_what_is_drawn_at_every_step(case, tmp_path):
    """No choice of the method changes rate, multiplier or the integer scale of the noise; C alone may move."""
    config = config_of(case)
    run = open_run(tmp_path, config, evaluator=quadratic())
    run.close()
    plan = plan_of(config)
    for step in range(config.method.num_steps):
        in_force = run._context.method.plan_at(step)
        assert dataclasses.replace(in_force, clip_norm=plan.clip_norm) == plan
        assert in_force.noise_scale_grid_units == plan.noise_scale_grid_units
        assert in_force.sampling_threshold == plan.sampling_threshold
    if config.method.name == "mezo":
        assert not plan.is_private
        return
    assert plan.noise_scale_grid_units == 2 * GRID_UNITS_PER_CLIP
    claimed = planned_sweep(config, 2.0, num_trials=1).trial_caps().event()
    noise = plan.noise_scale_grid_units / GRID_UNITS_PER_CLIP / (1 + rounding_share(config))
    drawn = Release("gaussian", plan.sampling_threshold / WORD_RANGE, noise)
    assert read(claimed).counts == ((drawn, config.method.num_steps),)


def test_a_step_is_one_release_of_its_integers_also_for_an_empty_batch(case, tmp_path):
    config = config_of(case)
    run = finished(open_run(tmp_path, config, evaluator=quadratic(), sampler=FrozenSampler([[]] * 6)))
    assert run.steps_charged == run.steps_released == 6
    releases = np.array(run.log.releases["step"])
    assert releases.shape == (6, plan_of(config).num_coordinates)
    assert (releases != 0).all() == METHODS[config.method.name].private


def test_probes_are_as_many_as_the_plan_counts_and_theta_is_left_alone(case, tmp_path):
    config, evaluator = config_of(case), quadratic()
    run = open_run(tmp_path, config, evaluator=evaluator)
    run._context.method.enter(0)
    digest = evaluator.state_digest()
    probes = run._context.method.propose(0)
    assert len(probes) == config.method.num_probes
    evaluator.probe([], probes)
    assert evaluator.state_digest() == digest
    run.close()


def test_the_log_replays_to_the_same_bits_from_the_end_and_from_the_middle_of_a_stage(case, tmp_path):
    config, first = config_of(case), quadratic()
    finished(
        open_run(tmp_path / "whole", config, evaluator=first, sampler=FrozenSampler([range(9)] * 6), noise=noise())
    )
    again = quadratic()
    replayed = open_run(tmp_path / "whole", config, evaluator=again, tokens=LocalTokens(0))
    with replayed.log:
        replayed.replay()
    assert again.state_digest() == first.state_digest()

    broken = open_run(tmp_path / "cut", config, evaluator=quadratic(), sampler=FrozenSampler([range(9)] * 4))
    with pytest.raises(RuntimeError), broken.log:
        list(broken.segments())
    part = quadratic()
    partly = open_run(tmp_path / "cut", config, evaluator=part, tokens=LocalTokens(0))
    taken_up = quadratic()
    with partly.log:
        partly.replay()
    sampler = FrozenSampler([range(9)] * 2)
    onwards = open_run(tmp_path / "cut", config, evaluator=taken_up, sampler=sampler, tokens=LocalTokens(9))
    finished(onwards)
    assert onwards.steps_taken == 6
    other = quadratic()
    replayed = open_run(tmp_path / "cut", config, evaluator=other, tokens=LocalTokens(0))
    with replayed.log:
        replayed.replay()
    assert other.state_digest() == taken_up.state_digest() != part.state_digest()


def test_a_run_leaves_nothing_behind_for_the_next_on_the_same_evaluator(case, tmp_path):
    """Neither mask, anchor nor velocity: a lane hands its evaluator from trial to trial."""
    digests = []
    for before in ([], ["dp-zopo-incremental"]):
        evaluator = quadratic()
        for name in (*before, case):
            folder, sampler = tmp_path / f"{name}-{len(before)}", FrozenSampler([range(9)] * 6)
            if not (folder / "release_log.jsonl").exists():
                run = open_run(folder, config_of(name), evaluator=evaluator, sampler=sampler, noise=noise())
                finished(run)
        digests.append(evaluator.state_digest())
    assert digests[0] == digests[1]


def noise() -> FrozenNoise:
    return FrozenNoise(3)


def test_the_loss_falls_without_noise(case, tmp_path):
    """To half of its excess or less, over as many steps as the method needs: a mask trains its own coordinates."""
    if "auto-clip" in case:
        pytest.skip("the clip of this test replaces its own")
    changes: dict = {"num_steps": 300, "clip_norm": 500.0, "learning_rate": 0.02, "smoothing": 1e-2}
    if METHODS[str(CASES[case].get("name", "dp-aggzo"))].takes("stage_steps"):
        changes |= {"stage_steps": 150, "proximal": 0.01}
    if METHODS[str(CASES[case].get("name", "dp-aggzo"))].private:
        changes["privacy__noise_multiplier"] = 1e-6
    config = config_of(case, **changes)
    evaluator = quadratic()
    aim = np.mean([target(n, 58) for n in range(20)], axis=0)
    start = evaluator.theta
    run = finished(
        open_run(tmp_path, config, evaluator=evaluator, sampler=FrozenSampler([range(20)] * 300), noise=none())
    )
    assert run.steps_taken == 300
    moved = evaluator.theta != start
    assert moved.any()
    assert (((evaluator.theta - aim) ** 2)[moved]).sum() < 0.5 * (((start - aim) ** 2)[moved]).sum()


def none() -> FrozenNoise:
    return FrozenNoise(scale=0.0)


PROMPTS = [(2, 10, 11, 4, 5), (2, 8, 9, 10, 12, 11, 4, 5), (2, 4, 5), (2, 9, 9, 10, 4, 5), (2, 11, 4, 5)]
CANARY = 4  # the last of them
ARCHITECTURES = {"causal-lm": "llama", "masked-lm": "roberta", "sequence-classification": "bert"}
ON_MODELS = ["mezo", "dp-zo", "dpzero-sphere", "dp-zoso", "dp-zopo", "dp-aggzo", "one-sided", "low-rank"]


def labelled(head: str) -> list[Example]:
    if head == "causal-lm":
        return [Example(prompt, ((7,), (6,)), n % 2) for n, prompt in enumerate(PROMPTS)]
    if head == "masked-lm":
        return [
            Example((*prompt, MASK_ID, 3), ((7,), (6,)), n % 2, mask_place=len(prompt))
            for n, prompt in enumerate(PROMPTS)
        ]
    return [Example(prompt, (), n % 2) for n, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Callable[[str, str], TransformersEvaluator]:
    root = tmp_path_factory.mktemp("models")
    folders = {head: save_model(root / name, name, head) for head, name in ARCHITECTURES.items()}
    return functools.cache(lambda head, trainable: model_of(folders, head, trainable))


def model_of(folders: dict[str, Path], head: str, trainable: str) -> TransformersEvaluator:
    targets = None if head == "causal-lm" else ["query", "value"]
    model = ModelConfig.model_validate(
        {
            "path": str(folders[head]),
            "head": head,
            "trainable": trainable,
            "lora": LoraConfig(rank=2, target_modules=targets),
        }
    )
    return TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=2, seed=0)


class LosesCanary:
    """A model whose losses of one example are no numbers."""

    def __init__(self, evaluator: LossEvaluator, canary: Example, loss: float) -> None:
        self._evaluator, self._canary, self._loss = evaluator, canary, loss

    def __getattr__(self, name: str) -> object:
        return getattr(self._evaluator, name)

    def probe(self, batch, probes):
        losses_PB = self._evaluator.probe(batch, probes)
        losses_PB[:, [one == self._canary for one in batch]] = self._loss
        return losses_PB


@pytest.mark.parametrize("head", ARCHITECTURES)
@pytest.mark.parametrize(
    ("case", "trainable"),
    [
        *((case, trainable) for case in ON_MODELS for trainable in ("full", "lora")),
        ("low-rank", "all-linear"),
        ("block-local-learned", "full"),
        ("block-local", "lora"),
    ],
)
def test_on_models_an_example_is_bounded_theta_moves_and_the_log_replays(case, head, trainable, models, tmp_path):
    """The first release on D, D ∪ {canary}, D ∪ {canary of no loss} and ∅, in integer units; then the log's replay."""
    config = config_of(case, num_steps=3, smoothing=1e-2, learning_rate=1e-3)
    evaluator, examples = models(head, trainable), labelled(head)
    evaluator.reset()
    base = evaluator.state_digest()
    without, nan, inf, nobody, with_canary = (
        first_release(tmp_path / name, config, model, examples, rows)
        for name, model, rows in (
            ("without", evaluator, range(CANARY)),
            ("nan", LosesCanary(evaluator, examples[CANARY], np.nan), range(CANARY + 1)),
            ("inf", LosesCanary(evaluator, examples[CANARY], np.inf), range(CANARY + 1)),
            ("nobody", evaluator, []),
            ("with", evaluator, range(CANARY + 1)),
        )
    )
    moved = evaluator.state_digest()
    assert moved != base
    assert not nobody.any()
    if config.method.name != "mezo":
        # a model rounds an example's loss differently beside other mates: `proof` measures and bounds that
        assert 0 < squared(with_canary - without) <= (1 + 1e-3) * GRID_UNITS_PER_CLIP**2
        assert squared(nan - without) <= 1e-6 * GRID_UNITS_PER_CLIP**2
        assert squared(inf - without) <= 1e-6 * GRID_UNITS_PER_CLIP**2
    replayed = model_run(tmp_path / "with", config, evaluator, [], [], none())
    with replayed.log:
        replayed.replay()
    assert evaluator.state_digest() == moved


def squared(units_K: np.ndarray) -> int:
    return sum(int(value) ** 2 for value in units_K)


def first_release(folder: Path, config: RunConfig, evaluator, examples: list[Example], rows) -> np.ndarray:
    """Return the first release, without noise, of a run whose batches are all the same rows, int64 [K]."""
    run = finished(model_run(folder, config, evaluator, examples, [list(rows)] * 3, none()))
    assert run.steps_charged == run.steps_released == 3
    return run.log.releases["step"][0]


def model_run(
    folder, config: RunConfig, evaluator: LossEvaluator, examples, batches, frozen: FrozenNoise
) -> ZerothOrderRun:
    tokens = LocalTokens(len(batches))
    workspace = Workspace(list(examples), [], evaluator)
    context = RunContext(workspace, config, plan_of(config), Tokens(tokens, tokens), folder)
    return ZerothOrderRun(context, sampler=FrozenSampler(batches), noise=frozen)


@pytest.fixture(scope="module")
def demo() -> Workspace:
    folder = Path(__file__).parents[2] / "examples"
    files = {"data.train": "private.jsonl", "data.validation": "public_validation.jsonl", "model.path": "model"}
    overrides = [f"{key}={folder / 'demo' / name}" for key, name in files.items()]
    return open_workspace(load_run(folder / "quickstart.yaml", [*overrides, "performance.num_threads=1"]))


STEPS, UNSEEN = 40, 64
LEARNING_RATES = {"dp-zopo": 0.01}  # of others 0.001; fewer parameters move, each further


@pytest.mark.parametrize("case", ON_MODELS)
def test_on_the_demo_the_loss_falls_without_noise(case, demo, tmp_path):
    """On examples that the run does not see, within a few steps along ever new directions."""
    rate = LEARNING_RATES.get(case, 0.001)
    stages = {"stage_steps": 20, "proximal": 0.01} if METHODS[config_of(case).method.name].takes("stage_steps") else {}
    config = config_of(case, num_steps=STEPS, smoothing=1e-2, clip_norm=50.0, learning_rate=rate, **stages)
    unseen = demo.examples[:UNSEEN]
    demo.evaluator.reset()
    before = demo.evaluator.losses(unseen).mean()
    batches = [range(UNSEEN + 32 * step, UNSEEN + 32 * (step + 1)) for step in range(STEPS)]
    finished(model_run(tmp_path, config, demo.evaluator, demo.examples, batches, none()))
    assert demo.evaluator.losses(unseen).mean() < before - 0.05
