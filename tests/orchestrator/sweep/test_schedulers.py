import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from orchestrator.sweep.schedulers import make_scheduler
from search_spaces.early_stopping import EarlyStopping


@pytest.mark.parametrize(
    ("stopping", "kind", "rungs"),
    [
        ({"kind": "none"}, FIFOScheduler, None),
        ({"kind": "median"}, MedianStoppingRule, None),
        ({"kind": "asha"}, ASHAScheduler, [[16, 4, 1]]),
        ({"kind": "asha", "grace": 2, "factor": 3}, ASHAScheduler, [[18, 6, 2]]),
        ({"kind": "hyperband", "factor": 3}, ASHAScheduler, [[9, 3, 1], [9, 3], [9]]),
    ],
)
def test_settings_reach_the_scheduler(stopping, kind, rungs):
    scheduler = make_scheduler(EarlyStopping(**stopping), "score", 20)
    assert type(scheduler) is kind
    if rungs is not None:
        assert [[rung for rung, _ in bracket._rungs] for bracket in scheduler._brackets] == rungs
