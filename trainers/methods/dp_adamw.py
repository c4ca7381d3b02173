"""DP-AdamW: DP-SGD's noisy gradient fed to AdamW. Li et al. (2022)."""

from trainers.methods.dp_sgd import require_one_clip
from trainers.methods.spec import MethodSpec

DP_ADAMW = MethodSpec(
    title="DP-AdamW",
    source="Li et al. (2022), arXiv:2110.05679",
    num_directions=(1, 1),
    settings=frozenset({"weight_decay"}),
    defaults={"num_directions": 1},
    check=require_one_clip,
    optimizer="adamw",
)
