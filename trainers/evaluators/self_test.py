"""The proof that an evaluator measures what it perturbs, and one example at a time, before a private row is read.

Engines fail silently: packed weights that nobody reads any more, a stale cache, a perturbation below rounding. And some
architectures couple the examples of a batch (padding that is not masked, a recurrent state): then one example moves the
differences of all, the clip bounds nothing, and the reported epsilon would be false. So the first thing a run does is
to probe made-up public examples, alone and together, and look.

What remains is rounding: in float32, and in vLLM unless `performance.vllm.batch_invariant` asks for kernels that do not
do it, a loss changes in its last digits with its neighbours. It is measured here, compared with the clip by
`require_above_rounding`, and named in the statement, which also says which evaluator and mode were used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainers.evaluators.base import Example, LossEvaluator, Probe
from trainers.mechanism.plan import MechanismPlan

MAX_COUPLING = 1e-4  # nats, of losses of order 1: float32 rounds a hundred times less, half precision in fixed shapes
# not at all (padding.py), and what truly couples does far more
MAX_ROUNDING = 0.1  # of the clip norm, that rounding may move the sum of a whole batch by


def self_test(
    evaluator: LossEvaluator, examples: Sequence[Example], probes: Sequence[Probe], *, max_tokens: int
) -> float:
    """Check that probes move the losses, leave θ as it was bit for bit, and see each example alone.

    Args:
        evaluator: what is to be trusted.
        examples: public, at least two.
        probes: perturbations of the configured radius.
        max_tokens: longest prompt of the run; one example is drawn out to it.

    Returns:
        How much an example's loss changes with its batch mates: rounding, in nats.

    Raises:
        ValueError: no loss moved, θ did, the longest prompt does not fit the model, or examples are coupled.
    """
    digest = evaluator.state_digest()
    before_B = evaluator.losses(examples)
    probed_PB = evaluator.probe(examples, probes)
    if np.array_equal(probed_PB, np.broadcast_to(before_B, probed_PB.shape)):
        scales = sorted({abs(probe.scale) for probe in probes})
        raise ValueError(
            f"a perturbation of radius {', '.join(f'{scale:g}' for scale in scales)} moved no loss: it is lost in "
            "rounding, or this model does not compute with the parameters that train. Raise method.smoothing, or check "
            "model.trainable and lora.target_modules."
        )
    rounding = _coupling(evaluator, [*examples, _drawn_out(examples[0], max_tokens)], probes, max_tokens)
    if evaluator.state_digest() != digest or not np.array_equal(evaluator.losses(examples), before_B):
        raise ValueError("a probe changed the parameters; this evaluator cannot be used with this model.")
    return rounding


def require_above_rounding(rounding: float, plan: MechanismPlan, smoothing: float) -> None:
    """Refuse a perturbation so small that rounding, divided by it, would rival the clip.

    An example's difference is its losses' over 2λ, so rounding by r nats moves it by up to r/λ; over a batch and K
    coordinates that is B·r / (λ·√K), which must stay small beside C.

    Raises:
        ValueError: with the smallest radius that would do.
    """
    if plan.clip_norm is None:
        return
    share = plan.expected_batch_size * rounding / (smoothing * plan.num_directions**0.5 * plan.clip_norm)
    if share > MAX_ROUNDING:
        raise ValueError(
            f"method.smoothing {smoothing:g} is too small: an example's loss changes by {rounding:.1e} nats with its "
            f"batch mates, by rounding, and over a batch that could be {share:.2g} of the clip norm. Use at least "
            f"{smoothing * share / MAX_ROUNDING:.1e}, or a larger method.clip_norm."
        )


def require_positions(evaluator: LossEvaluator, examples: Sequence[Example]) -> None:
    """Check that the longest row, prompt and continuation together, has a place in the model.

    A run that found out when it draws that row would end there, and by that tell who was drawn. What is evaluated is a
    made-up row of that length.

    Raises:
        ValueError: it has none; how long it is is not told.
    """
    lengths = {(len(of.prompt_ids), max(map(len, of.option_ids), default=0)) for of in examples}
    if not lengths:
        return
    prompt, option = max(lengths, key=sum)
    token = (examples[0].prompt_ids[0],)
    made_up = Example(token * prompt, (token * option,) if option else (), 0)
    try:
        evaluator.losses([made_up])
    except (IndexError, RuntimeError) as error:
        raise ValueError(
            "task.max_tokens: the longest row, a prompt and its continuation of so many tokens at most each, does not "
            "fit the model (more positions than it has?). Lower task.max_tokens."
        ) from error


def _coupling(evaluator: LossEvaluator, examples: Sequence[Example], probes: Sequence[Probe], max_tokens: int) -> float:
    """Return the largest difference between an example's loss alone and in a batch of unequal lengths."""
    try:
        together_PB = evaluator.probe(examples, probes)
        alone_PB = np.concatenate([evaluator.probe([example], probes) for example in examples], axis=1)
    except (IndexError, RuntimeError) as error:
        raise ValueError(
            f"task.max_tokens: a prompt of {max_tokens} tokens with its continuation does not fit the model (more "
            "positions than it has?). Lower task.max_tokens."
        ) from error
    coupling = float(np.abs(alone_PB - together_PB).max())
    if not coupling <= MAX_COUPLING * max(1.0, float(np.abs(alone_PB).max())):
        raise ValueError(
            f"model.path: an example's loss depends on its neighbours in the batch (by {coupling:.2g} nats), so one "
            "example would move the contributions of others and no epsilon would hold. Use another architecture, or "
            "model.dtype float32 (on GPUs performance.vllm.batch_invariant) where half precision is rounded by what "
            "stands beside it."
        )
    return coupling


def _drawn_out(example: Example, max_tokens: int) -> Example:
    """Return the example with its prompt repeated to the longest that a run may meet."""
    times = -(-max_tokens // len(example.prompt_ids))
    return replace(example, prompt_ids=(example.prompt_ids * times)[:max_tokens])  # the place of its mask stays
