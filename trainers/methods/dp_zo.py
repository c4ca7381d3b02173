"""DP-ZO: the scalar difference of each example, clipped and noised.

Tang et al. (2024), "Private Fine-tuning of Large Language Models with Zeroth-order Optimization". The paper clips the
raw difference ℓ(θ+λz) − ℓ(θ−λz) at C_raw. Here differences are divided by 2λ first, so C = C_raw / 2λ: the same set,
and σ is a multiple of either. With K > 1 directions the K-vector is clipped as one.
"""

from trainers.methods.spec import MethodSpec

DP_ZO = MethodSpec(
    title="DP-ZO",
    source="Tang et al. (2024), arXiv:2401.04343",
    defaults={"num_directions": 1},
)
