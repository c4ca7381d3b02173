"""DP-ZOSO: stages that grow as the learning rate falls, each pulled towards the θ it began with.

Liu et al. (2024), "Differentially Private Zeroth-Order Methods for Scalable Large Language Model Finetuning". Stage s
takes T_0·2^s steps at η_0·2^−s (a plain learning_rate is η_0) and may have a λ_s and a C_s of its own (stagewise
schedules). Each stage minimises ℓ + (1/2γ)‖θ − θ_s‖² (`transforms/proximal.py`): `proximal` is ρ = 1/γ. The pull reads
no data, so it costs no privacy. Several directions use the K-vector, never one noise for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainers.methods.spec import CAUSAL, ENCODER, OPT_3B, ROBERTA_LARGE, ZEROTH_ORDER, MethodSpec, Preset, configured
from trainers.methods.transforms.base import Transform
from trainers.methods.transforms.proximal import proximal_pull

if TYPE_CHECKING:
    from trainers.config import MethodConfig

STAGES = ZEROTH_ORDER | {"stage_steps", "proximal"}
DEFAULTS = {"num_directions": 1, "stage_steps": 1000, "proximal": 5e-4, "learning_rate": 1e-5}
PUBLISHED = {
    "num_steps": 6000,
    "stage_steps": 1000,
    "learning_rate": 2e-5,
    "clip_norm": 30.0,
    "smoothing": 1e-6,
    "proximal": 5e-4,
    "num_directions": 1,
}


def halved_each_stage(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with a plain learning rate as η_0, halved at each stage; {kind: constant, …} keeps it."""
    rate = settings["learning_rate"]
    if not isinstance(rate, int | float):
        return settings
    return {**settings, "learning_rate": {"kind": "stagewise", "start": rate, "factor": 0.5}}


def require_stages(method: MethodConfig) -> None:
    """Raise ValueError if stage_steps is null: the first stage of a run in stages needs a length."""
    if method.stage_steps is None:
        raise ValueError("DP-ZOSO and DP-ZOPO run in stages: give stage_steps, the steps of the first one")


def pulled(method: MethodConfig) -> list[Transform]:
    return [*configured(method), *([proximal_pull(method.proximal)] if method.proximal else [])]


DP_ZOSO = MethodSpec(
    title="DP-ZOSO",
    source="Liu et al. (2024), arXiv:2402.07818",
    settings=STAGES,
    defaults=DEFAULTS,
    complete=halved_each_stage,
    check=require_stages,
    transforms=pulled,
    presets={
        "roberta-large": Preset(ENCODER, ROBERTA_LARGE, "δ 1/n: convert", PUBLISHED),
        "opt-2.7b": Preset(CAUSAL, OPT_3B, "δ 1/n: convert", PUBLISHED),
    },
)
