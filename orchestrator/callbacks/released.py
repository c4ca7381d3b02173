"""The type of what trackers log: values that were released. Private values have other types, and are refused."""

from collections.abc import Iterator, Mapping
from typing import Any, Self, final

from pydantic_core import to_json

from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import WorkFacts
from search_spaces.config import MENU
from search_spaces.searchable import FILTERED, is_searchable

Scalar = bool | int | float | str | None
_PLAIN = (bool, int, float, str, type(None))
_KEY = object()


@final
class Released(Mapping[str, Scalar]):
    """Values that were released, by name. They are made of facts, trials and results, by the methods below.

    Formal guarantees:
        There is no way to make one of a number, an array or a mapping. A trial whose values are not plain Python
        numbers and texts (losses are numpy arrays and numbers of numpy), or have no name of a searchable setting, is
        refused with a TypeError.
    """

    __slots__ = ("_values",)

    def __init__(self, key: object, values: Mapping[str, Any]) -> None:
        if key is not _KEY:
            raise TypeError("Released is made of a trial, of facts or of a result, and of nothing else")
        for name, value in values.items():
            if type(value) not in _PLAIN:
                raise TypeError(f"{name}: a released value is a plain number or text, got {type(value).__name__}")
        self._values = dict(values)

    @classmethod
    def settings(cls, trial: TrialRow) -> Self:
        """Return the settings that the search chose for a trial."""
        _require(trial, TrialRow)
        unknown = [name for name in trial.values if name not in (MENU, *FILTERED) and not is_searchable(name)]
        if unknown:
            raise TypeError(f"a trial's values are searched settings; {unknown[0]!r:.60} is none")
        values = trial.values.items()
        return cls(_KEY, {name: to_json(at).decode() if isinstance(at, dict | list) else at for name, at in values})

    @classmethod
    def score(cls, trial: TrialRow) -> Self:
        """Return the last score of a trial, with its steps and its ε by itself."""
        _require(trial, TrialRow)
        return cls(_KEY, {"score": trial.score, "steps": trial.steps, "epsilon": trial.epsilon})

    @classmethod
    def facts(cls, facts: WorkFacts) -> Self:
        """Return what is declared before the work begins."""
        _require(facts, WorkFacts)
        plan = facts.plan
        declared = {} if plan is None else {"epsilon": plan.epsilon, "delta": plan.config.privacy.delta}
        method = {} if plan is None else {"method": plan.config.method.name}
        known = {"num_trials": facts.num_trials, "num_steps": facts.num_steps, "metric": facts.metric}
        return cls(_KEY, {**known, **method, **declared})

    @classmethod
    def result(cls, result: StoredRun | StoredSweep) -> Self:
        """Return the ε of a result, and its best score."""
        if not isinstance(result, StoredRun | StoredSweep):
            raise TypeError(f"expected a result, got {type(result).__name__}")
        best = result.best.score if isinstance(result, StoredSweep) and result.best else getattr(result, "score", None)
        return cls(_KEY, {"total_epsilon": result.statement.epsilon, "best_score": best})

    def __getitem__(self, name: str) -> Scalar:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def numbers(self) -> dict[str, float]:
        """Return the values that are numbers."""
        return {name: float(value) for name, value in self.items() if type(value) in (int, float)}  # type: ignore[arg-type]


def require_released(values: Any) -> Released:
    """Return the values, if they are of the released type; a TypeError otherwise, which shows none of them."""
    if type(values) is not Released:
        raise TypeError(f"a tracker logs released values alone (of the type Released), got {type(values).__name__}")
    return values


def _require(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(given).__name__}: only what dpzo released may be logged")
