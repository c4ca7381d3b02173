"""A self-test of the evaluator on public examples, before a private row is read.

Engines fail silently: a forward pass that reads packed copies of the weights, a stale cache, a perturbation below
rounding. Some architectures couple the examples of a batch (padding that is not masked, a recurrent state): one example
would move the differences of all, the clip would bound nothing, and the reported epsilon would be false
(docs/pitfalls.md#examples-that-move-each-others-losses). So a run first probes made-up examples, alone and together,
and compares the losses.

Rounding remains: in float32, and in vLLM without `performance.vllm.batch_invariant`, the last digits of a loss change
with the other examples of the batch. The self-test measures this, `require_above_rounding` compares it with the clip,
and the privacy statement names it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainers.evaluators.base import Example, LossEvaluator, Probe, SelfTestable
from trainers.evaluators.model_files import one_line
from trainers.mechanism.plan import MechanismPlan

# Nats, for losses of order 1. Rounding in float32 is a hundred times smaller, half precision in fixed shapes does not
# depend on the batch at all (padding.py), and a real coupling is far larger.
MAX_COUPLING = 1e-4
MAX_ROUNDING = 0.1  # of the clip norm: the most that rounding might move a sum where nothing is charged for it
WORST_PER_SHARE = 10  # times the charged share: the worst case that is let through; real sums moved by 1/400 of it


def self_test(
    evaluator: SelfTestable, examples: Sequence[Example], probes: Sequence[Probe], *, max_tokens: int
) -> float:
    """Check that probes move the losses and restore θ, and that no example depends on the others of its batch.

    Nor may an example depend on what was read before it, even where that was NaN.

    Args:
        evaluator: to be tested.
        examples: public, at least two.
        probes: perturbations of the configured radius.
        max_tokens: length of the longest prompt of the run; one example is lengthened to it.

    Returns:
        How much rounding changes an example's loss with the other examples of its batch, in nats.

    Raises:
        ValueError: no loss moved, one is no number, θ changed, a prompt does not fit, or examples are coupled.
    """
    digest = evaluator.state_digest()
    try:
        before_B = evaluator.losses(examples)
    except RuntimeError as error:
        raise ValueError(f"model.path: the model cannot read made-up rows: {one_line(error)}") from error
    if not np.isfinite(before_B).all():
        raise ValueError(
            "model.path: the model's losses of made-up examples are NaN or infinite, before anything is trained. Use "
            "model.dtype float32, or another checkpoint."
        )
    probed_PB = evaluator.probe(examples, probes)
    if np.array_equal(probed_PB, np.broadcast_to(before_B, probed_PB.shape)):
        scales = sorted({abs(probe.scale) for probe in probes})
        raise ValueError(
            f"a perturbation of radius {', '.join(f'{scale:g}' for scale in scales)} moved no loss: it is lost in "
            "rounding, or this model does not compute with the trainable parameters. Raise method.smoothing, or check "
            "model.trainable and lora.target_modules."
        )
    if not np.isfinite(probed_PB).all():
        raise ValueError(
            "performance.evaluator: losses of made-up examples are NaN or infinite at probes and finite at θ: the "
            "device computes probes wrongly, or method.smoothing is far too large. Expected finite losses at both."
        )
    rounding = _coupling(evaluator, [*examples, _lengthened(examples[0], max_tokens)], probes, max_tokens)
    _require_contained(evaluator, examples, probes, max_tokens)
    if evaluator.state_digest() != digest or not np.array_equal(evaluator.losses(examples), before_B):
        raise ValueError("a probe changed the parameters; this evaluator cannot be used with this model.")
    return rounding


def require_above_rounding(rounding: float, plan: MechanismPlan, smoothing: float, share: float) -> None:
    """Check that rounding moves a sum by far less than is charged for it (docs/proofs/rounding.md).

    An example's value is the difference of two losses over 2λ, so rounding by r nats moves each coordinate by up to
    r / (λK). Over a batch that is at most B·r / (λ·√K) in L2, and B·r / λ in L1, if all errors have one sign; a sum
    moves by a small part of it.

    Args:
        rounding: r, from `self_test`.
        plan: the run's mechanism.
        smoothing: λ.
        share: of C, that is charged; a tenth of the worst case must be within it. 0 charges nothing.

    Raises:
        ValueError: it is too small; the error names the smallest radius that would pass.
    """
    if plan.clip_norm is None:
        return
    root = plan.num_directions**0.5 if plan.noise == "gaussian" else 1.0
    worst = plan.expected_batch_size * rounding / (smoothing * root * plan.clip_norm)
    limit = WORST_PER_SHARE * share or MAX_ROUNDING
    if worst > limit:
        raise ValueError(
            f"method.smoothing {smoothing:g} is too small: rounding changes an example's loss by {rounding:.1e} nats "
            f"with the other examples of its batch, and over a batch that could be {worst:.2g} of the clip norm. Use "
            f"at least {smoothing * worst / limit:.1e}, or a larger method.clip_norm"
            + (f", or privacy.rounding_share {worst / WORST_PER_SHARE:.2g}, for more noise." if share else ".")
        )


def require_positions(evaluator: LossEvaluator, examples: Sequence[Example]) -> None:
    """Check that the model has enough positions for the longest row: a prompt and its continuation.

    A run that stopped when it draws that row would reveal who was drawn. This evaluates a made-up row of that length.

    Raises:
        ValueError: the model has too few positions; the error does not say how long the row is.
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
            "task.max_tokens: the longest row, a prompt and a continuation of at most max_tokens each, does not fit "
            "the model (too few positions?). Lower task.max_tokens."
        ) from error


def _coupling(evaluator: LossEvaluator, examples: Sequence[Example], probes: Sequence[Probe], max_tokens: int) -> float:
    """Return the largest difference between an example's loss alone and in a batch of unequal lengths."""
    try:
        together_PB = evaluator.probe(examples, probes)
        alone_PB = _alone(evaluator, examples, probes)
    except (IndexError, RuntimeError) as error:
        raise ValueError(
            f"task.max_tokens: a prompt of {max_tokens} tokens with its continuation does not fit the model (too few "
            "positions?). Lower task.max_tokens."
        ) from error
    coupling = float(np.abs(alone_PB - together_PB).max())
    if not coupling <= MAX_COUPLING * max(1.0, float(np.abs(alone_PB).max())):
        raise ValueError(
            f"model.path: an example's loss depends on its neighbours in the batch (by {coupling:.2g} nats), so one "
            "example would move the contributions of others and no epsilon would hold. Use another architecture; if "
            "the cause is rounding in half precision, use model.dtype float32, or on GPUs "
            "performance.vllm.batch_invariant."
        )
    return coupling


def _require_contained(
    evaluator: SelfTestable, examples: Sequence[Example], probes: Sequence[Probe], max_tokens: int
) -> None:
    """Check that a row of NaN activations changes no bit of another row's loss, beside it or after it."""
    alone_PB = _alone(evaluator, examples, probes)
    spared = {token for of in examples for ids in (of.prompt_ids, *of.option_ids) for token in ids}
    with evaluator.poisoned(spared) as token:
        row = replace(examples[0], prompt_ids=(token,) * max(max_tokens, len(examples[0].prompt_ids)))
        poisoned_PB = evaluator.probe([*examples, row], probes)
    after_PB, clean_PB = _alone(evaluator, examples, probes), evaluator.probe([*examples, row], probes)
    if np.isfinite(poisoned_PB[:, -1]).any():
        raise ValueError(
            "model.path: the self-test cannot reach the embedding of this model. Use another architecture."
        )
    if not (np.array_equal(alone_PB, after_PB) and np.array_equal(poisoned_PB[:, :-1], clean_PB[:, :-1])):
        raise ValueError(
            "model.path: a row whose activations are no numbers changed the losses of other rows, so one example would "
            "move the contributions of others and no epsilon would hold. Use another architecture or "
            "performance.evaluator."
        )


def _alone(evaluator: LossEvaluator, examples: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
    """Return the losses of examples that are read one by one, float64 [P, B]."""
    return np.concatenate([evaluator.probe([example], probes) for example in examples], axis=1)


def _lengthened(example: Example, max_tokens: int) -> Example:
    """Return the example with its prompt repeated up to a length. The place of a mask stays."""
    times = -(-max_tokens // len(example.prompt_ids))
    return replace(example, prompt_ids=(example.prompt_ids * times)[:max_tokens])
