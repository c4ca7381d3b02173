"""DP-ZOSO: stages that grow as the learning rate falls, each pulled towards the θ it began with.

Liu et al. (2024), "Differentially Private Zeroth-Order Methods for Scalable Large Language Model Finetuning". Stage s
takes T_0·2^s steps at η_0·2^−s (a plain learning_rate is η_0) and may have a λ_s and a C_s of its own (stagewise
schedules). Each stage minimises ℓ + (1/2γ)‖θ − θ_s‖², whose extra gradient is ρ(θ − θ_s) with ρ = 1/γ: `proximal` is ρ.
The pull reads no data, so it costs no privacy. Several directions use the K-vector, never one noise for each.
"""

from trainers.methods.spec import MethodSpec

STAGED_DEFAULTS = {"num_directions": 1, "stage_steps": 1000, "proximal": 5e-4}

DP_ZOSO = MethodSpec(
    title="DP-ZOSO",
    private=True,
    num_directions=(1, 4096),
    source="Liu et al. (2024), arXiv:2402.07818",
    staged=True,
    defaults=STAGED_DEFAULTS,
)
