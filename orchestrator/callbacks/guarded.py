"""Callbacks of a program as one monitor: an error in one is logged, and ends nothing."""

import logging
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import Monitor, WorkFacts

LOGGER = logging.getLogger(__name__)
EVENTS = ("on_start", "on_trial_start", "on_score", "on_trial_end", "on_end")
_OF_TRIALS = EVENTS[1:4]


class GuardedCallbacks(Monitor):
    """Calls the functions that a program has given for events.

    Args:
        functions: by event.
        as_result: makes what `on_end` gets of a stored result.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[[Any], Any]],
        as_result: Callable[[StoredRun | StoredSweep], Any],
    ) -> None:
        self._functions, self._as_result = functions, as_result

    def on_start(self, facts: WorkFacts) -> None:
        """Call the function for the start."""
        self._call("on_start", facts)

    def on_trial_start(self, trial: TrialRow) -> None:
        """Call the function for a trial that starts."""
        self._call("on_trial_start", trial)

    def on_score(self, trial: TrialRow) -> bool | None:
        """Call the function for a score; its False stops the trial, and nothing else that it returns."""
        return False if self._call("on_score", trial) is False else None

    def on_trial_end(self, trial: TrialRow) -> None:
        """Call the function for a trial that ended."""
        self._call("on_trial_end", trial)

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """Call the function for the end; the result is None where the work failed."""
        self._call("on_end", None if result is None else self._as_result(result))

    def _call(self, event: str, given: Any) -> Any:
        function = self._functions.get(event)
        if function is None:
            return None
        try:
            return function(given)
        except Exception:
            LOGGER.exception("%s failed in a callback; the run goes on", event)
            return None


def guarded(callback: Any, is_secret: bool, as_result: Callable[[StoredRun | StoredSweep], Any]) -> GuardedCallbacks:
    """Return an object with methods of `Monitor`, or a mapping from events to functions, as a monitor.

    Args:
        callback: the object, of which a method may be missing, or the mapping.
        is_secret: whether trials are secret (`release: best`). Functions for trials are refused then; an object just
            does not hear of them.
        as_result: makes what `on_end` gets.

    Raises:
        ValueError: it is neither, or a function would hear of secret trials.
    """
    if not isinstance(callback, Mapping):
        found = {event: getattr(callback, event, None) for event in EVENTS}
        if isinstance(callback, type) or not any(map(callable, found.values())):
            raise ValueError(
                f"callbacks: expected objects with methods such as on_score, got {callback!r:.80}; a function "
                "is given by its event, such as on_score=print"
            )
        return GuardedCallbacks({event: call for event, call in found.items() if callable(call)}, as_result)
    for event, function in callback.items():
        if event not in EVENTS:
            hint = "".join(f" Did you mean {match!r}?" for match in get_close_matches(event, EVENTS, n=1))
            raise ValueError(f"{event}: there is no such event.{hint} Events: {', '.join(EVENTS)}")
        if not callable(function):
            raise ValueError(f"{event}: expected a function of one argument, got {function!r:.80}")
        if is_secret and event in _OF_TRIALS:
            raise ValueError(
                f"{event}: under search.release 'best' nobody hears of trials or stops them: the draws must not depend "
                "on scores. Leave it out, or use release 'all'"
            )
    return GuardedCallbacks(callback, as_result)
