"""Reads distributions of Optuna and domains of Ray Tune as parameters, without loading either library."""

from collections.abc import Callable, Mapping
from typing import Any


def as_form(given: Any) -> Any:
    """Return the form {low, high, …} or {choices} of another library's distribution, anything else as it is.

    ValueError where a space has no such distribution.
    """
    if isinstance(given, Mapping) and given.keys() == {"grid_search"}:  # ray.tune.grid_search
        return {"choices": given["grid_search"]}
    library, name = type(given).__module__.partition(".")[0], type(given).__name__
    if library == "optuna" and name in _OPTUNA:
        return {key: getattr(given, key) for key in _OPTUNA[name] if getattr(given, key) is not None}
    if library == "ray":
        if name not in _RAY:
            raise ValueError(f"{_words(given)} is no distribution of a space: use tune.uniform, loguniform or choice")
        return _RAY[name](given)
    return given


_OPTUNA = {
    "FloatDistribution": ("low", "high", "log", "step"),
    "IntDistribution": ("low", "high", "log", "step"),
    "CategoricalDistribution": ("choices",),
}


def _ray_range(domain: Any, *, number: type) -> dict[str, Any]:
    """Return a range of Ray, whose whole numbers end before the upper end, except in quantised ranges."""
    law, step = domain.sampler, None
    beyond = 1 if number is int else 0
    if type(law).__name__ == "Quantized":
        step, law, beyond = law.q, law.sampler, 0
    kind = type(law).__name__
    if kind not in ("_Uniform", "_LogUniform"):
        raise ValueError(f"{_words(domain)} is no distribution of a space: use tune.uniform or tune.loguniform")
    form = {"low": number(domain.lower), "high": number(domain.upper - beyond), "log": kind == "_LogUniform"}
    return form if step in (None, 1) else {**form, "step": step}


_RAY: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "Float": lambda domain: _ray_range(domain, number=float),
    "Integer": lambda domain: _ray_range(domain, number=int),
    "Categorical": lambda domain: {"choices": list(domain.categories)},
}


def _words(domain: Any) -> str:
    law = getattr(domain, "sampler", None)
    return f"ray.tune's {type(domain).__name__}" + (f" with {type(law).__name__.strip('_')}" if law else "")
