"""The catalogue: one row a method. A new paper is one file and one row here."""

from __future__ import annotations

from trainers.methods.adamw import ADAMW
from trainers.methods.dp_adamw import DP_ADAMW
from trainers.methods.dp_aggzo import DP_AGGZO
from trainers.methods.dp_sgd import DP_SGD
from trainers.methods.dp_zo import DP_ZO
from trainers.methods.dp_zopo import DP_ZOPO
from trainers.methods.dp_zoso import DP_ZOSO
from trainers.methods.dpzero import DPZERO
from trainers.methods.mezo import MEZO
from trainers.methods.spec import MethodSpec

METHODS: dict[str, MethodSpec] = {
    "mezo": MEZO,
    "dp-zo": DP_ZO,
    "dpzero": DPZERO,
    "dp-zoso": DP_ZOSO,
    "dp-zopo": DP_ZOPO,
    "dp-aggzo": DP_AGGZO,
    "dp-sgd": DP_SGD,
    "dp-adamw": DP_ADAMW,
    "adamw": ADAMW,
}
