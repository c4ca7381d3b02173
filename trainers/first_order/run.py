"""A first-order run: DP-SGD, DP-AdamW, or AdamW without privacy, in place of the zeroth-order step.

Abadi et al. (2016), "Deep Learning with Differential Privacy", arXiv:1607.00133; Li et al. (2022), "Large Language
Models Can Be Strong Differentially Private Learners", arXiv:2110.05679. Tokens, Poisson batches, release log and scores
are those of every run. A release is a whole noisy gradient: the log holds its digest, and snapshots hold the weights.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import torch

from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.first_order.clipping import add_clipped
from trainers.first_order.gradients import Unit
from trainers.first_order.noise import GaussianNoise, GradientNoise
from trainers.first_order.optimizer import Optimizer
from trainers.first_order.snapshot import Snapshot, read_snapshot, write_snapshot
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.sampling import PoissonSampler, Sampler
from trainers.mechanism.units import choose, units_of
from trainers.methods.catalogue import METHODS
from trainers.run.base_run import BaseRun
from trainers.run.context import RunContext
from trainers.run.divergence import require_alive

SNAPSHOT_STEPS = 50  # between snapshots, by default: a kill loses fewer than this


class FirstOrderRun(BaseRun):
    """One training by gradients. It resumes at its last snapshot: later steps are lost, and stay charged.

    Args:
        context: what the run is made from; `workspace.gradients` is needed for fresh steps.
        sampler, noise: replaced in tests only; no configuration can name another.

    Formal guarantees:
        With clip and noise in the plan, a step is the Poisson-subsampled Gaussian mechanism of the plan, also for an
        empty batch, up to floating point. Gradients are clipped in L2 over all trainable parameters together, so their
        number and `num_directions` do not enter.

    Raises:
        ValueError: as for every run, the log names snapshots that are gone, or the plan's noise is not Gaussian.
    """

    def __init__(
        self, context: RunContext, *, sampler: Sampler | None = None, noise: GradientNoise | None = None
    ) -> None:
        workspace, config, plan = context.workspace, context.config, context.plan
        _require_gaussian(plan)
        if not isinstance(workspace.evaluator, TransformersEvaluator):
            raise ValueError("first-order methods differentiate: they need the transformers evaluator")
        self._evaluator = workspace.evaluator
        super().__init__(context)
        self._plan = plan
        self._learning_rate = config.method.as_function(config.method.learning_rate)
        self._units: Sequence[Unit] = units_of(workspace.examples, workspace.users)
        self._sampler = sampler or PoissonSampler(plan, len(self._units))
        self._noise = noise or GaussianNoise()
        self._saved_steps = -1
        try:
            self.replay()
        except ValueError:
            self.close()
            raise

    def replay(self, on_step: Callable[[int], None] = lambda steps: None) -> None:
        """Bring θ to the last snapshot, without touching private data; its log holds no step that could be taken."""
        method = self.config.method
        self._evaluator.reset()
        self._optimizer = Optimizer(
            METHODS[method.name].optimizer or "sgd",
            self._evaluator.parameters.theta(),
            weight_decay=method.weight_decay,
            momentum=method.momentum,
        )
        snapshot = read_snapshot(self._folder, self.log)
        if snapshot is not None:
            self._optimizer.restore(snapshot.tensors)
            self.steps_taken = self._saved_steps = snapshot.steps
            self._scores = list(snapshot.scores)
        self._evaluator.parameters.assign(self._optimizer.theta)

    def _train_until(self, point: int, on_step: Callable[[int], None]) -> int:
        taken = super()._train_until(point, on_step)
        if self.steps_taken <= point:
            self._save()
        require_alive(self._evaluator, self.config.name, self.steps_taken, self.ranks)
        return taken

    def _step(self) -> None:
        index = self.log.num_released("step")  # counts lost steps too
        self._tokens.steps.draw(self.steps_taken)
        self.log.reserve("step", index)
        total = self._private_sum()
        if self._plan.clip_norm is not None and self._plan.noise_multiplier is not None:
            self._noise.add(total, math.nextafter(self._plan.noise_multiplier * self._plan.clip_norm, math.inf))
        self.log.release_digest("step", index, _digest(total))
        mean = {name: tensor / self._plan.expected_batch_size for name, tensor in total.items()}
        self._optimizer.step(mean, self._learning_rate(self.steps_taken))
        self._evaluator.parameters.assign(self._optimizer.theta)
        self.steps_taken += 1
        if self.steps_taken % (self.config.performance.snapshot_steps or SNAPSHOT_STEPS) == 0:
            self._save()

    def _private_sum(self) -> dict[str, torch.Tensor]:
        """Return name → sum of the clipped gradients of a fresh batch, float64. Private."""
        gradients = self._workspace.gradients
        assert gradients is not None, "a run without gradients can be replayed, but takes no step"
        most = self.config.data.max_examples_per_user
        units = [choose(self._units[row], most) for row in self._sampler.draw()]
        total = {name: torch.zeros_like(theta, dtype=torch.float64) for name, theta in self._optimizer.theta.items()}
        passes = gradients.total(units) if self._plan.clip_norm is None else gradients(units)
        add_clipped(total, passes, self._plan.clip_norm)
        return total

    def _save(self) -> None:
        if self.steps_taken > self._saved_steps:
            snapshot = Snapshot(self._optimizer.state(), self.steps_taken, tuple(self._scores))
            write_snapshot(self._folder, self.log, snapshot)
            self._saved_steps = self.steps_taken


def _require_gaussian(plan: MechanismPlan) -> None:
    """Refuse a plan of another law than that of a step."""
    if plan.is_private and plan.noise != "gaussian":
        raise ValueError(
            f"first-order methods add Gaussian noise to gradients: use gaussian noise. The plan says {plan.noise}."
        )


def _digest(noisy: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(noisy.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().numpy().data)
    return digest.hexdigest()
