"""The catalogue: one row a method. A new paper is one file and one row here."""

from collections.abc import Iterable
from difflib import get_close_matches

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


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones; the ValueError shows the nearest, and all that are known."""
    known = list(known)
    if name not in known:
        near = get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r}.{hint} Known: {', '.join(known)}")
