"""DP-AdamW: DP-SGD's gradient fed to AdamW. Li et al. (2022)."""

from trainers.methods.spec import MethodSpec

DP_ADAMW = MethodSpec(
    title="DP-AdamW",
    private=True,
    num_directions=(1, 1),
    source="Li et al. (2022), arXiv:2110.05679",
    defaults={"num_directions": 1},
    order="first",
    rule="adamw",
)
