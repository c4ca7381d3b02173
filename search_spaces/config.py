"""The `search` section of a sweep: the number of trials, how they are chosen, and what of them is released."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from search_spaces.dependencies import can_be, words_of
from search_spaces.early_stopping import EarlyStopping, EarlyStoppingForm
from search_spaces.errors import Problem, refuse
from search_spaces.parameters import Choice, Parameter, as_value
from search_spaces.space import FilterSpace, Space
from trainers.config.sections import Count, Positive, Section

MENU, FIT = "menu", "fit"
FEW_TRIALS, MANY_TRIALS = 8, 100
"""'auto' takes 'qmc' below the first number, and no Gaussian process above the second: its time grows as the cube."""
Objective = Literal["score", "steps", "forward_passes"]
_LARGEST_SEED = 2**32 - 1  # what numpy's generators, and so Optuna's samplers, take


class MenuEntry(Section):
    """One (σ, q, T) of a menu."""

    num_steps: Count = Field(
        description="Steps T of a trial that takes this entry; a trial that is stopped is charged all of them."
    )
    expected_batch_size: Positive = Field(description="B = q · N of these steps, in examples or users.")
    noise_multiplier: Positive | None = Field(default=None, description="σ of these steps; or give epsilon.")
    epsilon: Positive | None = Field(default=None, description="Cost of one such trial; σ is calibrated to it.")

    @model_validator(mode="after")
    def _one_noise(self) -> MenuEntry:
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ValueError("give noise_multiplier (σ), or epsilon (one trial's own, σ is calibrated to it)")
        return self


class SecretNumber(Section):
    """The law of the secret number of trials under `release: best`; num_trials is its mean."""

    law: Literal["geometric", "logarithmic", "poisson", "negative-binomial"] = Field(
        default="geometric", description="'logarithmic' costs less at the same mean, with a median of few trials."
    )
    shape: Positive = Field(default=1.0, description="η of the negative binomial law; 1 is the geometric one.")


class FilterConfig(Section):
    """A Rényi filter: every step pays its price at one order, until privacy.epsilon is spent."""

    order: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        description="Rényi order α at which prices add up, declared before; `dpzo plan` suggests one."
    )
    space: FilterSpace = Field(description="What varies beside search.space: noise_multiplier, batch size, num_steps.")


class SweepTokens(Section):
    """What all trials of a sweep may draw together, however many there are; ε is that of all of it."""

    steps: Count = Field(description="Training steps of all trials together, spare ones included.")
    scores: Count | None = Field(
        None, description="Private scores of all trials together. When absent: as many as these steps can need."
    )


class SearchConfig(Section):
    """How trials are chosen and released; this and num_trials decide how ε is counted."""

    num_trials: Annotated[
        Count | None,
        BeforeValidator(lambda given: None if given == FIT else given),
        PlainSerializer(lambda number: FIT if number is None else number),
    ] = Field(
        description="Trials of the sweep, or 'fit': as many as search.caps allow. The mean of their secret number "
        "under release: best."
    )
    concurrent_trials: Count = Field(1, description="Trials that run at once.")
    caps: SweepTokens | None = Field(
        None, description="Steps and scores of all trials together. When absent: num_trials times those of one trial."
    )
    reuse: str | None = Field(
        None,
        description="Name of an ended sweep on the same data. This one takes its noise, batch size and unit, and draws "
        "the steps that it left over, which are charged already.",
    )
    sampler: Literal["auto", "tpe", "random", "gp", "qmc", "cma-es", "nsga2"] = Field(
        "auto",
        description="'random' draws trials independently, 'qmc' spreads them evenly; the others learn from finished "
        "trials. 'auto' takes one by the number of trials (docs/search.md).",
    )
    startup: Count | None = Field(
        None, description="Trials that are drawn independently before the sampler learns. Default: a third, at least 3."
    )
    seed: Annotated[int, Field(ge=0, le=_LARGEST_SEED)] | None = Field(
        None, description="PUBLIC seed of the sampler; with several trials at once their order still matters."
    )
    early_stopping: EarlyStoppingForm = Field(
        EarlyStopping(kind="none"),
        description="'asha', 'hyperband' or 'median' stop trials whose early scores are low, also with settings: "
        "{kind: asha, grace: 1, factor: 3}. Needs score.times of at least 2.",
    )
    time_s: Positive | None = Field(
        None, description="Seconds after which no trial begins; those that run end, and what is left stays charged."
    )
    trials_without_gain: Count | None = Field(
        None, description="No trial begins after so many have ended in a row without a higher score."
    )
    warm_start: str | None = Field(
        None, description="Name of an earlier sweep on the same data, from whose finished trials this one learns too."
    )
    seeds: Count = Field(
        1,
        description="Runs of a trial, each with its own directions and batches, and each charged: the trial's score is "
        "their mean. A trial that is stopped early has the first one alone.",
    )
    first: tuple[Mapping[str, Annotated[Any, AfterValidator(as_value)]], ...] | None = Field(
        None, description="Settings to try first, by dotted name; what one leaves out is drawn."
    )
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=2)] = Field(
        ("score",),
        description="What is sought: [score], or [score, steps] or [score, forward_passes], which finds a front: "
        "trials of which none beats another in both.",
    )
    release: Literal["all", "best"] = Field(
        "all", description="What leaves the operator: every trial, or the best one alone (its model, settings, score)."
    )
    secret_number: SecretNumber = Field(
        default_factory=SecretNumber, description="Used with release: best: the law of the number of trials."
    )
    menu: Annotated[list[MenuEntry], Field(min_length=1)] | None = Field(
        None, description="Declared (σ, q, T): each trial takes one entry, chosen by the search."
    )
    filter: FilterConfig | None = Field(
        None, description="Search σ, B and T too, within privacy.epsilon, by a Rényi filter."
    )
    tune_on: str | None = Field(
        None,
        description="PUBLIC or synthetic examples: trials train on these for nothing, and the best settings then make "
        "one private run.",
    )
    space: Space = Field(
        description="What varies: dotted names → {low, high, log} or {choices}; or the name of a paper's grid."
    )

    def sampler_for(self, num_trials: int) -> str:
        """Return the sampler of a search of so many trials: what 'auto' stands for was measured (docs/search.md)."""
        if self.sampler != "auto":
            return self.sampler
        if self.release == "best":
            return "random"
        parameters = self.parameters.values()
        is_whole = not self.early_stopping.stops and not self.has_front
        learns_of_all = is_whole and not any(parameter.when for parameter in parameters)
        has_ranges = not all(isinstance(parameter, Choice) for parameter in parameters)
        if num_trials < FEW_TRIALS and has_ranges:
            return "qmc"
        return "gp" if learns_of_all and has_ranges and num_trials <= MANY_TRIALS else "tpe"

    def startup_of(self, num_trials: int) -> int:
        """Return how many of so many trials have settings that depend on no score, if one runs after the other."""
        if self.sampler_for(num_trials) in ("random", "qmc"):
            return num_trials
        return min(num_trials, self.startup or max(3, num_trials // 3))

    @model_validator(mode="after")
    def _one_way_of_counting(self) -> SearchConfig:
        ways = {
            "release: best": self.release == "best",
            "menu": self.menu is not None,
            "filter": self.filter is not None,
            "tune_on": self.tune_on is not None,
        }
        chosen = [name for name, given in ways.items() if given]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} count privacy in different ways: choose one")
        problems = list(self._adaptive()) if self.release == "best" else []
        if self.num_trials is None and self.caps is None and self.reuse is None:
            problems.append((("num_trials",), "'fit' needs search.caps, such as {steps: 1500}: what trials fit into"))
        for key in ("caps", "reuse") if chosen else ():
            if getattr(self, key) is not None:
                what = f"{chosen[0]} counts trials, not tokens that they share: give num_trials, and leave this out"
                problems.append(((key,), what))
        if chosen and self.seeds > 1:
            what = f"{chosen[0]} counts a trial as one run: leave this out"
            problems.append((("seeds",), what))
        problems += self._first_outside()
        problems += self._no_front(chosen) if self.has_front else ()
        if self.sampler in ("gp", "cma-es") and all(isinstance(found, Choice) for found in self.space.root.values()):
            what = f"{self.sampler!r} models numbers, and search.space has choices alone: use 'tpe', or give a range"
            problems.append((("sampler",), what))
        if problems:
            refuse("SearchConfig", problems)
        return self

    @property
    def has_front(self) -> bool:
        """Whether two objectives are sought, so that no trial is the best alone."""
        return self.objectives != ("score",)

    def _no_front(self, ways: Sequence[str]) -> Iterator[Problem]:
        """Yield why two objectives have no front, or one whose sampler cannot learn."""
        if self.objectives[0] != "score" or len(set(self.objectives)) != 2:
            yield ("objectives",), f"are [score, steps] or [score, forward_passes], got {list(self.objectives)}"
        if "release: best" in ways or "tune_on" in ways:
            yield ("objectives",), f"{ways[0]} takes one winner, and a front has none: leave this out"
        if self.sampler == "cma-es":
            yield ("sampler",), "'cma-es' learns from one objective: use 'tpe' or 'nsga2'"
        for key in ("trials_without_gain", "warm_start"):
            if getattr(self, key) is not None:
                yield (key,), "compares trials by their score alone, and there are two objectives: leave this out"
        if self.early_stopping.stops:
            yield ("early_stopping",), "a trial that is stopped has no place on a front: leave this out"
        costs = {"method.num_steps", MENU} | ({"method.num_directions"} if "steps" not in self.objectives else set())
        if not costs & self.parameters.keys():
            what = f"{self.objectives[-1]} are the same in all trials: search {' or '.join(sorted(costs))}"
            yield ("objectives",), what

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter of a trial by name; with a menu, the number of its entry under 'menu'."""
        filtered = {} if self.filter is None else self.filter.space.root
        entry = {} if self.menu is None else {MENU: Choice(choices=tuple(range(len(self.menu))))}
        return {**self.space.root, **filtered, **entry}

    def _first_outside(self) -> Iterator[Problem]:
        """Return what `first` sets outside of the space."""
        for number, settings in enumerate(self.first or ()):
            for name, value in settings.items():
                if name not in self.parameters:
                    yield ("first", str(number), name), f"is not searched. Searched: {', '.join(self.parameters)}"
                elif not can_be(self.parameters[name], value):
                    yield ("first", str(number), name), f"{value!r} is outside of {words_of(self.parameters[name])}"

    def _adaptive(self) -> Iterator[Problem]:
        """Return the settings that make trials depend on each other: release: best needs independent draws."""
        if self.sampler not in ("auto", "random"):
            why = "spreads trials over the space" if self.sampler == "qmc" else "is adaptive"
            what = f"sampler {self.sampler!r} {why}; release 'best' needs independent draws. Use sampler 'random'"
            yield ("sampler",), f"{what}, or release 'all'"
        if self.early_stopping.stops:
            what = (
                f"{self.early_stopping.kind!r} stops trials by the scores of others; release 'best' needs independent"
            )
            yield ("early_stopping",), f"{what} trials. Use early_stopping 'none', or release 'all'"
        for key in ("time_s", "trials_without_gain"):
            if getattr(self, key) is not None:
                what = (
                    "makes the number of trials depend on time or scores; release 'best' draws it in secret. Leave it"
                )
                yield (key,), f"{what} out, or use release 'all'"
        if self.warm_start is not None:
            what = "trials that are chosen from earlier scores are no independent draws, which release 'best' needs"
            yield ("warm_start",), f"{what}. Leave it out, or use release 'all'"
        if self.first:
            what = "settings that are given are no independent draws, which release 'best' needs. Leave them out"
            yield ("first",), f"{what}, or use release 'all'"
        if self.seed is not None:
            what = "a public seed would tell which settings were drawn; release 'best' needs secret draws. Leave it out"
            yield ("seed",), f"{what}, or use release 'all'"
