"""DP-ZOPO: DP-ZOSO with directions that live on a pruning mask, which is made without data.

Liu et al. (2024), as DP-ZOSO. The mask keeps 1 % of the parameters by default, ranked by scores of the weights and of
the model's answer to a constant input (`pruning.py`); it is made once (static), anew each stage (dynamic), or grows or
shrinks from stage to stage (incremental). No private row is read for it, so it costs no privacy.
"""

from trainers.methods.dp_zoso import STAGED_DEFAULTS
from trainers.methods.spec import MethodSpec

DP_ZOPO = MethodSpec(
    title="DP-ZOPO",
    private=True,
    num_directions=(1, 4096),
    source="Liu et al. (2024), arXiv:2402.07818",
    staged=True,
    masked=True,
    defaults={**STAGED_DEFAULTS, "mask": {}},
)
