"""DPZero: one direction, uniform on the sphere of radius √d, and a scalar clip.

Zhang et al. (2024), "DPZero: Private Fine-Tuning of Language Models without Backpropagation", Alg. 2. The sphere is the
paper's; its code, and so its presets, use `direction: gaussian`. q = 1 (expected_batch_size = num_examples) is the full
batch of the theory. The code adds noise for replacing an example, which is a matter of adjacency and not of the method.
"""

from trainers.methods.spec import MethodSpec

DPZERO = MethodSpec(
    title="DPZero",
    private=True,
    num_directions=(1, 1),
    source="Zhang et al. (2024), arXiv:2310.09639",
    defaults={"num_directions": 1, "direction": "sphere"},
)
