"""From a configuration to the mechanisms of its steps and of its private scores."""

from trainers.config import RunConfig
from trainers.config.auto import AutoClip
from trainers.config.run import CONFUSION_METRICS
from trainers.mechanism.plan import MechanismPlan
from trainers.methods.catalogue import METHODS

ROUNDING_SHARE = 0.01  # of C, charged by default where neighbours may change how a loss is rounded


def is_batch_invariant(config: RunConfig) -> bool:
    """Return whether the evaluator is built so that the other examples of a batch change no bit of a loss.

    Half precision of transformers is computed in fixed shapes; vLLM has kernels for it on GPUs.
    """
    if config.performance.evaluator == "vllm":
        return config.performance.vllm.batch_invariant
    return config.model.dtype != "float32"


def rounding_share(config: RunConfig) -> float:
    """Return the share of C that rounding may add to the sensitivity of a step, and that is charged."""
    if config.privacy.rounding_share is not None:
        return config.privacy.rounding_share
    zeroth = METHODS[config.method.name].order == "zeroth"
    return ROUNDING_SHARE if zeroth and not is_batch_invariant(config) else 0.0


def mechanism_plan(config: RunConfig, noise_multiplier: float | None) -> MechanismPlan:
    """Return the run's mechanism. `noise_multiplier` is σ, given or calibrated; None for a method without privacy."""
    method = config.method
    private = METHODS[method.name].private
    first = (
        method.clip_norm.start if isinstance(method.clip_norm, AutoClip) else method.as_function(method.clip_norm)(0)
    )
    return MechanismPlan(
        sampling_prob=config.sampling_prob,
        expected_batch_size=config.privacy.expected_batch_size,
        num_directions=config.method.num_directions,
        num_steps=config.method.num_steps,
        clip_norm=first if private else None,
        noise_multiplier=noise_multiplier,
        noise=config.privacy.noise,
        adjacency=config.privacy.adjacency,
        has_norm=isinstance(method.clip_norm, AutoClip),
    )


def score_plan(config: RunConfig) -> MechanismPlan:
    """Return the mechanism of the configured score on private examples: no sampling, K numbers, noise σ."""
    assert config.num_scored_units is not None  # RunConfig requires it
    return MechanismPlan(
        sampling_prob=1.0,
        expected_batch_size=float(config.num_scored_units),
        num_directions=len(config.task.label_names) ** 2 if config.metric in CONFUSION_METRICS else 1,
        num_steps=config.score.times,
        clip_norm=config.score.loss_bound or 1.0,
        noise_multiplier=config.score.noise_multiplier,
        noise=config.privacy.noise,
        adjacency=config.privacy.adjacency,
    )
