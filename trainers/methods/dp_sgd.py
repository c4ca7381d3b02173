"""DP-SGD: gradients of single examples, clipped and noised. Abadi et al. (2016), Alg. 1."""

from trainers.methods.spec import MethodSpec

DP_SGD = MethodSpec(
    title="DP-SGD",
    private=True,
    num_directions=(1, 1),
    source="Abadi et al. (2016), arXiv:1607.00133",
    defaults={"num_directions": 1},
    order="first",
    rule="sgd",
)
