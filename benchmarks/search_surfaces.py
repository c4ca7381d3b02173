"""The product's samplers on synthetic surfaces of (λ, C, η): how good is the best of so few trials?

A surface is a smooth hill in the logarithms of the three settings, at a random place, of random widths and with a
random orientation; a score is its height with Gaussian noise. What counts is the true height of the trial whose noisy
score is best, as a share of the top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import optuna

from orchestrator.sweep.samplers import NEEDS, make_sampler
from search_spaces.config import SearchConfig
from search_spaces.space import define_by_run

SPACE = {
    "method.smoothing": {"low": 1e-3, "high": 3e-2, "log": True},
    "method.clip_norm": {"low": 1.0, "high": 30.0, "log": True},
    "method.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
}
SAMPLERS = ("random", "tpe after 10", "tpe", "gp", "qmc", "cma-es", "nsga2", "auto")


@dataclass(frozen=True)
class Surface:
    """A hill: its place in [0, 1]³, and the inverse of its widths along its axes."""

    top_D: np.ndarray
    slopes_DD: np.ndarray

    @classmethod
    def drawn(cls, generator: np.random.Generator) -> Surface:
        """Return a surface whose top lies in the inner part of the space."""
        axes_DD, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        return cls(generator.uniform(0.15, 0.85, 3), axes_DD / generator.uniform(0.3, 1.0, 3))

    def height(self, values: dict[str, float]) -> float:
        """Return the true score of settings, at most 1."""
        place_D = np.array(
            [
                math.log(values[name] / bounds["low"]) / math.log(bounds["high"] / bounds["low"])
                for name, bounds in SPACE.items()
            ]
        )
        return math.exp(-0.5 * float(np.sum(((place_D - self.top_D) @ self.slopes_DD) ** 2)))


def search_of(sampler: str, num_trials: int, seed: int) -> SearchConfig:
    """Return the `search` section of a row of the table; "tpe after 10" is what Optuna does by itself."""
    name, _, startup = sampler.partition(" after ")
    settings = {"num_trials": num_trials, "sampler": name, "seed": seed, "space": SPACE}
    return SearchConfig.model_validate(settings | ({"startup": int(startup)} if startup else {}))


def lacks_packages(sampler: str) -> bool:
    """Return whether a package of a sampler is missing here."""
    return any(find_spec(package) is None for package in NEEDS.get(sampler, ()))


def found_share(sampler: str, num_trials: int, seed: int, noise: float) -> float:
    """Return the true score of the best trial of one search, as a share of the top."""
    generator = np.random.default_rng(seed)
    surface, search = Surface.drawn(generator), search_of(sampler, num_trials, seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(search, num_trials))
    ask = define_by_run(search.parameters)
    for _ in range(num_trials):
        trial = study.ask()
        ask(trial)
        study.tell(trial, surface.height(trial.params) + noise * generator.normal())
    return surface.height(study.best_params)
