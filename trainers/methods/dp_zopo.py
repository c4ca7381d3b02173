"""DP-ZOPO: DP-ZOSO with directions that live on a pruning mask, which is made without data.

Liu et al. (2024), as DP-ZOSO. The mask keeps 1 % of the parameters by default, ranked by scores of the weights and of
the model's output for a constant input (`trainers/run/pruning.py`). It is made once (static), anew each stage
(dynamic), or grows or shrinks from stage to stage (incremental). No private row is read for it: it costs no privacy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.methods import dp_zoso
from trainers.methods.spec import CAUSAL, ENCODER, OPT_3B, ROBERTA_LARGE, MethodSpec, Preset

if TYPE_CHECKING:
    from trainers.config import MethodConfig

_PUBLISHED = {**dp_zoso.PUBLISHED, "mask": {"keep": 0.01}}


def require_mask(method: MethodConfig) -> None:
    """Raise ValueError if stage_steps or mask is null, or mask.keep exceeds 1 at some stage."""
    dp_zoso.require_stages(method)
    if method.mask is None:
        raise ValueError("DP-ZOPO needs mask: {keep: 0.01}")
    largest = max(map(method.as_function(method.mask.keep), method.stage_starts))
    if largest > 1:
        raise ValueError(f"mask.keep is a share, at most 1, and reaches {largest:g}")


DP_ZOPO = MethodSpec(
    title="DP-ZOPO",
    source="Liu et al. (2024), arXiv:2402.07818",
    settings=dp_zoso.STAGES | {"mask"},
    defaults={**dp_zoso.DEFAULTS, "mask": {}},
    complete=dp_zoso.halved_each_stage,
    check=require_mask,
    transforms=dp_zoso.pulled,
    presets={
        "roberta-large": Preset(ENCODER, ROBERTA_LARGE, "δ 1/n: convert", _PUBLISHED),
        "opt-2.7b": Preset(CAUSAL, OPT_3B, "δ 1/n: convert", _PUBLISHED),
    },
)
