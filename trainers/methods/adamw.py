"""The first-order baselines: gradients of single examples, clipped and noised, then SGD or AdamW.

Abadi et al. (2016), Alg. 1; Li et al. (2022) for AdamW on language models; AdamW without privacy is Loshchilov & Hutter
(2019). They run in trainers/first_order, with the sampler, the accountant and the ledger of all other methods.
"""

from trainers.methods.spec import MethodSpec

ADAMW = MethodSpec(
    title="AdamW",
    private=False,
    num_directions=(1, 1),
    source="Loshchilov & Hutter (2019), arXiv:1711.05101",
    defaults={"num_directions": 1},
    order="first",
    rule="adamw",
)
