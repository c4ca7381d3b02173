"""The proximal pull of DP-ZOSO: each stage minimises ℓ + (1/2γ) ‖θ − θ_s‖², where θ_s is the θ that it began with.

Liu et al. (2024), arXiv:2402.07818. The extra gradient is ρ (θ − θ_s) with ρ = 1/γ.
"""

from dataclasses import replace

from trainers.methods.transforms.base import Transform, stateless


def proximal_pull(strength: float) -> Transform:
    """Return the transform that pulls θ towards θ_s, with ρ = `strength`."""
    return stateless("proximal", lambda update: replace(update, pull=update.pull + strength), needs_anchor=True)
