"""The configuration of a run with its budget, and of a sweep.

A sweep's file is a run's file with one more section, `search`; `dpzo train` reads the same file and ignores it. Paths
(data.train, data.validation, model.path, storage_path) are relative to the working directory, not to the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from orchestrator.config.errors import reasons
from search_spaces.config import SearchConfig
from search_spaces.errors import Problem, refuse
from search_spaces.space import FilterSpace
from search_spaces.trial_config import refused_ends
from trainers.config import RunConfig
from trainers.config.sections import Positive, Section
from trainers.methods.catalogue import METHODS

NOISE = "privacy.noise_multiplier"
LEDGER_FILE, CONFIG_FILE = "dpzo.db", "config.json"
OWN_FILES = {  # no run may have the name of one, whatever folder is its storage
    *(f"{LEDGER_FILE}{end}" for end in ("", "-wal", "-shm", "-journal")),
    *(CONFIG_FILE, "result.json", "privacy_statement.json", "privacy_statement.txt", "release_log.jsonl"),
    "operator-only",
}


def _without_password(url: str) -> str:
    """Refuse a URL with a password: the configuration is written beside the results."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a ValueError repeats what it takes for a port
        raise ValueError("must be an SQLAlchemy URL, such as postgresql+psycopg://user@host/name") from None
    named = any("password" in key.lower() for key in parsed.query)
    stray = parsed.get_backend_name() != "sqlite" and url.count("@") != (parsed.username is not None)
    if named or stray or parsed.password is not None:
        raise ValueError(
            "holds a password: leave it out, and put it into PGPASSWORD, ~/.pgpass or a file that PGPASSFILE names (an "
            "@ in a user's name is written %40)"
        )
    return url


class BudgetConfig(Section):
    """The budget that a run draws from. It belongs to the data set: all runs on one data set share it."""

    name: str | None = Field(
        default=None,
        description="A budget made by `dpzo budget create`. When absent: that of this data in the ledger, or a new one "
        "without a limit, which only counts.",
    )
    ledger: Annotated[str, AfterValidator(_without_password)] | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger, postgresql+psycopg://… where several machines share it. A SQLite "
        "file under storage_path when absent.",
    )
    acknowledge_overlap: bool = Field(
        default=False,
        description="Accept that the private rows overlap with those of another budget: whoever is in both pays both, "
        "and the statement names the other one. Refused otherwise.",
    )
    patience_s: Positive = Field(
        default=600.0, description="How long to wait for a ledger that does not answer, seconds; then the run stops."
    )


class LedgeredConfig(RunConfig):
    """Everything about one run, and the budget that it is charged to."""

    budget: BudgetConfig = Field(default_factory=BudgetConfig)

    @field_validator("name")
    @classmethod
    def _no_file_of_ours(cls, name: str) -> str:
        if name.lower() in OWN_FILES:
            raise ValueError(f"{name!r} is the name of one of dpzo's own files; give another")
        return name


class SweepConfig(LedgeredConfig):
    """Everything about one sweep: the run that all trials share, and what varies between them.

    privacy.epsilon and privacy.delta are the claim of the whole sweep. method.num_steps and score.times are those of
    one run, and a trial is search.seeds runs, so the caps are num_trials × seeds times as many; privacy.spare_steps is
    added to the cap once, for all trials together. Settings that search.space names are drawn for each trial; only
    `dpzo train` uses their value in `method`.
    """

    search: SearchConfig = Field(description="How trials are chosen: num_trials and space, and how to sample it.")

    @model_validator(mode="after")
    def _can_search(self) -> SweepConfig:
        problems: list[Problem] = []
        if not self.data.has_validation:
            problems.append((("data", "validation"), "missing. A sweep compares its trials by their score on it."))
        stopping = self.search.early_stopping
        if stopping.stops and self.score.times <= stopping.grace:
            what = f"{stopping.kind} compares scores along the way: set score.times to {stopping.grace + 1} or more"
            problems.append((("search", "early_stopping"), f"{what}, got {self.score.times}"))
        for place, space in (("space",), self.search.space), (("filter", "space"), self._filter_space):
            for name, end, error in refused_ends(space, self) if space else ():
                what = f"{end!r} cannot be tried: {'; '.join(reasons(error))}"
                problems.append((("search", *place, name), what))
        problems += [*self._uncounted(), *self._tokens_hold_a_trial()]
        if problems:
            refuse("SweepConfig", problems)
        return self

    @property
    def planned_trials(self) -> int:
        """Trials of full length: as many as are asked for, and as search.caps hold."""
        caps, most = self.search.caps, self.search.num_trials
        if caps is None:
            assert most is not None  # SearchConfig requires one of the two
            return most
        full = caps.steps // self.steps_per_trial
        if caps.scores is not None and self.score.on == "private":
            full = min(full, caps.scores // (self.search.seeds * len(self.score.points(self.method.num_steps))))
        return full if most is None else min(full, most)

    @property
    def planned_steps(self) -> int:
        """Steps of all trials together, without privacy.spare_steps."""
        caps = self.search.caps
        return self.planned_trials * self.steps_per_trial if caps is None else caps.steps

    @property
    def steps_per_trial(self) -> int:
        """Steps of all runs of a trial."""
        return self.search.seeds * self.method.num_steps

    @property
    def _filter_space(self) -> FilterSpace | None:
        return self.search.filter.space if self.search.filter else None

    def _tokens_hold_a_trial(self) -> Iterator[Problem]:
        caps, steps = self.search.caps, self.method.num_steps
        if caps is None:
            return
        if self.privacy.spare_steps or self.privacy.spare_scores:
            yield ("search", "caps"), "hold spare steps and scores too: leave privacy.spare_steps and spare_scores out"
        if caps.scores is not None and self.score.on == "public":
            yield ("search", "caps", "scores"), "scores on public rows cost nothing: leave this out"
        if self.planned_trials == 0:
            scores = self.search.seeds * len(self.score.points(steps))
            yield (
                ("search", "caps"),
                f"not one trial of {self.steps_per_trial} steps and {scores} scores fits: raise them",
            )

    def _uncounted(self) -> Iterator[Problem]:
        """Yield what the chosen way of counting privacy cannot count."""
        search, privacy = self.search, self.privacy
        special = [name for name in ("menu", "filter", "tune_on") if getattr(search, name) is not None]
        if search.release == "best":
            special.append("release")
        if special and not METHODS[self.method.name].private:
            yield (
                ("search", special[0]),
                f"counts privacy; {METHODS[self.method.name].title} has none: leave it out",
            )
        if search.menu is not None and privacy.noise_multiplier is not None:
            yield ("privacy", "noise_multiplier"), "each entry of search.menu has its own: leave this out"
        for number, entry in enumerate(search.menu or []):
            if entry.expected_batch_size > self.num_training_units:
                train = f"{self.num_training_units:g} {self.data.unit}s that train"
                what = f"{entry.expected_batch_size:g} exceeds the {train}"
                yield ("search", "menu", str(number), "expected_batch_size"), what
        if privacy.noise == "laplace" and "method.num_directions" in search.space.root:
            what = "the law of a token depends on K under Laplace noise: fix it, or use Gaussian noise"
            yield ("search", "space", "method.num_directions"), what
        if search.filter is not None:
            if privacy.epsilon is None:
                yield ("privacy", "epsilon"), "missing: a filter stops trials when this is spent"
            if privacy.noise_multiplier is None and NOISE not in search.filter.space.root:
                yield ("privacy", "noise_multiplier"), f"missing: under a filter give σ, or search {NOISE}"
        if search.tune_on is not None and self.score.on == "private":
            yield ("score", "on"), "trials on search.tune_on are free, and private scores are not: score on public data"
