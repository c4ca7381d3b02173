"""The mean of late iterates and its scale, against the iterates themselves."""

import numpy as np
import pytest
import torch

from tests.support.quadratic import Quadratic
from tests.support.runs import open_run, run_config
from trainers.evaluators.late_iterates import LateIterates


@pytest.mark.parametrize("master", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, {"method__momentum": 0.5}])
def test_it_is_the_mean_of_the_last_iterates(tmp_path, master, changes):
    config = run_config(**changes)
    evaluator = Quadratic(master=master, start=1.0)
    base = evaluator.theta.copy()
    iterates = taken(tmp_path, config, evaluator)
    again = open_run(tmp_path, config, evaluator=evaluator)
    late = LateIterates(evaluator.parameters)
    with again.log:
        again.replay(lambda steps: late.add() if steps > 6 else None)
    for scale in (1.0, 0.5, 2.0):
        late.place(scale)
        wanted = base + scale * (np.mean(iterates[6:], axis=0) - base)
        assert np.allclose(evaluator.theta, wanted, rtol=0.01 if master == torch.bfloat16 else 1e-6)
    late.place(1.0)
    digest = evaluator.state_digest()
    late.place(2.0)
    late.place(1.0)
    assert evaluator.state_digest() == digest


def taken(folder, config, evaluator):
    """Take all steps and return θ after each."""
    run, iterates = open_run(folder, config, evaluator=evaluator), []
    with run.log:
        list(run.segments(lambda steps: iterates.append(evaluator.theta.copy())))
    return iterates
