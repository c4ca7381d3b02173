"""DP-AggZO: many directions a step, and one clip of each example's aggregate.

Bao et al. (2025), USENIX Security. The K-vector of an example is clipped in L2, not direction by direction, and the
noise on K coordinates is that of one clip. Good clips fall with K: C ≈ β/√K with β of 100 to 200 in the paper.
"""

from trainers.methods.spec import CAUSAL, ENCODER, MOST_DIRECTIONS, OPT_1B, ROBERTA_LARGE, MethodSpec, Preset

_PUBLISHED = {"num_steps": 1000, "num_directions": 64, "smoothing": 1e-3}
_GRID = {
    "method.clip_norm": {
        "choices": sorted({base * factor for base in (1.0, 1.25) for factor in (1, 2, 3, 4, 6, 8, 10, 20, 40)})
    },
    "method.learning_rate": {"choices": [1e-6, 2e-6, 4e-6, 8e-6, 1e-5, 2e-5, 4e-5, 8e-5]},
}

DP_AGGZO = MethodSpec(
    title="DP-AggZO",
    source="Bao et al. (2025), USENIX Security",
    num_directions=(2, MOST_DIRECTIONS),
    presets={
        "roberta-large": Preset(
            ENCODER,
            ROBERTA_LARGE,
            "B 64, MNLI at ε = 2, q 0.0416",
            {**_PUBLISHED, "clip_norm": 5.0, "learning_rate": 8e-5},
        ),
        "opt-1.3b": Preset(
            CAUSAL, OPT_1B, "B 64, SQuAD at ε = 2, q 0.064", {**_PUBLISHED, "clip_norm": 2.0, "learning_rate": 6e-5}
        ),
    },
    grids={
        "roberta-large": {**_GRID, "method.num_directions": {"choices": [64, 256]}},
        "opt-1.3b": {**_GRID, "method.num_directions": {"choices": [16, 64]}},
    },
)
