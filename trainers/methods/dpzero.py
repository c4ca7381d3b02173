"""DPZero: one direction, uniform on the sphere of radius √d, and a scalar clip.

Zhang et al. (2024), "DPZero: Private Fine-Tuning of Language Models without Backpropagation", Alg. 2. The sphere is the
paper's; its code, and so its presets, use `direction: gaussian`. q = 1 (expected_batch_size = num_examples) is the full
batch of the theory. The code adds noise for replacing an example, which is a matter of adjacency and not of the method.
"""

from trainers.methods.spec import CAUSAL, ENCODER, OPT_1B, ROBERTA_LARGE, MethodSpec, Preset

_GRID = {
    "method.clip_norm": {"choices": [100.0, 200.0, 400.0]},
    "method.learning_rate": {"choices": [1e-7, 5e-7, 1e-6, 5e-6, 1e-5, 5e-5]},
}

DPZERO = MethodSpec(
    title="DPZero",
    source="Zhang et al. (2024), arXiv:2310.09639",
    num_directions=(1, 1),
    defaults={"num_directions": 1, "direction": "sphere"},
    presets={
        "roberta-large": Preset(
            ENCODER,
            ROBERTA_LARGE,
            "B 64, 512 examples a class, δ 1e-5",
            {
                "num_steps": 10_000,
                "smoothing": 1e-3,
                "clip_norm": 200.0,
                "learning_rate": 1e-6,
                "direction": "gaussian",
            },
        ),
        "opt-1.3b": Preset(
            CAUSAL,
            OPT_1B,
            "B 8, SST-2",
            {"smoothing": 1e-3, "clip_norm": 300.0, "learning_rate": 1e-7, "direction": "gaussian"},
        ),
    },
    grids={"roberta-large": _GRID, "opt-1.3b": _GRID},
)
