"""Optuna's samplers for a sweep: how settings are chosen from the released scores of earlier trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, QMCSampler

from search_spaces.config import SearchConfig
from search_spaces.parameters import Choice, Int, Parameter

NEEDS = {"gp": ("torch", "scipy"), "qmc": ("scipy",), "cma-es": ("cmaes",)}
"""Packages of a sampler that Optuna itself does without."""


class EvenSampler(QMCSampler):
    """`QMCSampler` that knows the space from the first trial on; Optuna's waits until a trial has ended."""

    def __init__(self, parameters: Mapping[str, Parameter], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._known = {
            name: distribution_of(parameter)
            for name, parameter in parameters.items()
            if not isinstance(parameter, Choice) and not parameter.when  # those it draws independently
        }

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Return the parameters that every trial has."""
        return self._known


def require_packages(sampler: str) -> None:
    """Refuse, with a ValueError that says what to install, a sampler whose packages are missing."""
    missing = [package for package in NEEDS.get(sampler, ()) if find_spec(package) is None]
    if missing:
        names = " ".join(missing)
        raise ValueError(f"search.sampler: {sampler!r} needs {names}: pip install {names}, or take another sampler")


def make_sampler(search: SearchConfig, num_trials: int) -> BaseSampler:
    """Return the sampler of a search of (about) so many trials."""
    startup, prunes = search.startup_of(num_trials), search.early_stopping.stops
    kinds: dict[str, Callable[[], BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=search.seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=startup),
        "gp": lambda: optuna.samplers.GPSampler(
            seed=search.seed, n_startup_trials=startup, warn_independent_sampling=False
        ),
        "qmc": lambda: EvenSampler(
            search.parameters,
            scramble=True,
            seed=search.seed,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        ),
        "cma-es": lambda: optuna.samplers.CmaEsSampler(
            seed=search.seed, n_startup_trials=startup, consider_pruned_trials=prunes, warn_independent_sampling=False
        ),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=search.seed, population_size=max(2, startup)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return kinds[search.sampler_for(num_trials)]()


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's distribution of a parameter."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.ends)
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
