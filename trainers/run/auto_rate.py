"""A learning rate from what is known before a step: noise alone then moves θ by a chosen share of ‖θ_0‖ in the run.

η = ρ ‖θ_0‖ / (n √(T K d)), where n is the noise on a coordinate of the mean g, in loss per parameter unit. A step adds
η n √(K d) of noise to θ, and T steps, which point anywhere, add √T times that: ρ ‖θ_0‖. n follows a clip that follows
norms. Everything is public: a function of the configuration, the base weights and the release log.

DoG (Ivgi et al. 2023, arXiv:2302.12022) takes η = max ‖θ_i − θ_0‖ / √Σ‖g_i‖². Zeroth-order steps point anywhere too, so
that ‖θ_t − θ_0‖² is about Σ η_i² ‖g_i‖², and DoG's rate stays where it began, whatever the loss does (docs/noise.md).
What is left of it is the scale: a distance over the size of all steps, of which the noise is known.
"""

import math

from trainers.config import MethodConfig
from trainers.config.auto import AutoRate
from trainers.evaluators.base import ParameterSpace
from trainers.mechanism.plan import MechanismPlan
from trainers.methods.transforms.shrinkage import noise_variance


def require_scale(method: MethodConfig, parameters: ParameterSpace) -> None:
    """Refuse, with a ValueError, base weights that are all 0: they give no scale to move by."""
    if isinstance(method.learning_rate, AutoRate) and parameters.base_norm() == 0.0:
        raise ValueError("method.learning_rate: auto needs base weights that are not all 0: give a number")


class RateOfNoise:
    """η of a step, from the plan in force."""

    def __init__(self, settings: AutoRate, num_steps: int, parameters: ParameterSpace) -> None:
        self._num_steps, self._parameters = num_steps, parameters
        self._distance = settings.distance * parameters.base_norm()

    def __call__(self, plan: MechanismPlan) -> float:
        """Return η under a private plan."""
        assert plan.clip_norm is not None, "without noise there is nothing to scale by"
        noise = math.sqrt(noise_variance(plan)) * plan.clip_norm
        return self._distance / (noise * math.sqrt(self._num_steps * plan.num_directions * self._parameters.count))
