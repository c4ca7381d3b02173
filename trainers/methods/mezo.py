"""MeZO: zeroth-order steps without privacy (ε = ∞), the baseline that the private methods are compared with.

Malladi et al. (2023), "Fine-Tuning Language Models with Just Forward Passes". One direction a step, the batch's mean
difference, no clip, no noise. Batches are Poisson here as well, so that it differs from DP-ZO by the privacy alone.
"""

from trainers.methods.spec import MethodSpec

MEZO = MethodSpec(
    title="MeZO",
    private=False,
    num_directions=(1, 1),
    source="Malladi et al. (2023), arXiv:2305.17333",
    defaults={"num_directions": 1},
)
