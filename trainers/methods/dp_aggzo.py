"""DP-AggZO: many directions a step, and one clip of each example's aggregate.

Bao et al. (2025), USENIX Security. The K-vector of an example is clipped in L2, not direction by direction, and the
noise on K coordinates is that of one clip. Good clips fall with K: C ≈ β/√K with β of 100 to 200 in the paper.
"""

from trainers.methods.spec import MethodSpec

DP_AGGZO = MethodSpec(
    title="DP-AggZO",
    private=True,
    num_directions=(2, 4096),
    source="Bao et al. (2025), USENIX Security",
)
