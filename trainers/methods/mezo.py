"""MeZO: zeroth-order steps without privacy (ε = ∞), the baseline that the private methods are compared with.

Malladi et al. (2023), "Fine-Tuning Language Models with Just Forward Passes". One direction a step, the batch's mean
difference, no clip, no noise. Batches are Poisson here as well, so that it differs from DP-ZO by the privacy alone.
"""

from trainers.methods.spec import ANY_OPT, CAUSAL, ZEROTH_ORDER, MethodSpec, Preset

MEZO = MethodSpec(
    title="MeZO",
    source="Malladi et al. (2023), arXiv:2305.17333",
    private=False,
    num_directions=(1, 1),
    settings=ZEROTH_ORDER - {"shrinkage"},  # which corrects for noise
    defaults={"num_directions": 1},
    presets={
        "opt-lora": Preset(
            CAUSAL, ANY_OPT, "B 16", {"num_steps": 20_000, "smoothing": 1e-2, "learning_rate": 1e-4}, trainable="lora"
        )
    },
)
