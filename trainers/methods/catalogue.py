"""The catalogue: one row a method. A new paper is one file and one row here."""

from __future__ import annotations

from trainers.methods.dp_aggzo import DP_AGGZO
from trainers.methods.dp_zo import DP_ZO
from trainers.methods.dp_zopo import DP_ZOPO
from trainers.methods.dp_zoso import DP_ZOSO
from trainers.methods.dpzero import DPZERO
from trainers.methods.first_order import ADAMW, DP_ADAMW, DP_SGD
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
