"""A monitor that hears of some work without a sweep."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.sweep.monitor import Monitor, WorkFacts, announced


@contextmanager
def monitored(monitor: Monitor, facts: WorkFacts) -> Iterator[None]:
    """Tell a monitor that the body begins and that it has ended."""
    with announced(monitor) as announcer:
        announcer.begin(facts)
        yield
