import math
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.sweep.membership_attack import evidence_of

CLAIM = SimpleNamespace(epsilon_total=1.0, delta_total=1e-5)


def test_scores_that_differ_tell_all_members_and_refute():
    found = evidence_of(np.linspace(1, 2, 300), np.linspace(-1, 0, 200), CLAIM)
    assert (found.auc, found.true_positive_rate) == (1.0, 1.0)
    assert found.true_positive_rate > found.bound == pytest.approx(math.e * 0.01 + 1e-5)


def test_scores_of_one_law_are_a_guess():
    generator = np.random.default_rng(0)
    found = evidence_of(generator.normal(size=20_000), generator.normal(size=20_000), CLAIM)
    assert found.auc == pytest.approx(0.5, abs=0.01)
    assert found.true_positive_rate == pytest.approx(0.01, abs=0.004)
    assert found.false_positive_rate <= 0.01


def test_equal_scores_and_scores_that_are_no_numbers_tell_nothing():
    for members, others in ((np.zeros(50), np.zeros(50)), (np.full(50, np.nan), np.full(50, np.nan))):
        found = evidence_of(members, others, CLAIM)
        assert (found.auc, found.true_positive_rate) == (0.5, 0.0)


def test_without_a_claim_everything_is_allowed():
    open_claim = SimpleNamespace(epsilon_total=None, delta_total=None)
    assert evidence_of(np.ones(3), np.zeros(3), open_claim).bound == 1.0
