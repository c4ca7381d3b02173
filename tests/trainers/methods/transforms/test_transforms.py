import numpy as np
import pytest

from trainers.mechanism.plan import MechanismPlan
from trainers.methods.transforms.base import Chain, Update, stateless
from trainers.methods.transforms.momentum import momentum
from trainers.methods.transforms.proximal import proximal_pull
from trainers.methods.transforms.shrinkage import running_mean, shrinkage

PLAN = MechanismPlan(0.5, 10.0, 4, 100, 3.0, 2.0)


def shrunk(decay: float, *values: float) -> np.ndarray:
    transform = shrinkage(decay)
    update, _ = transform.update(Update(np.array(values)), transform.init(), PLAN)
    return update.values_K


def test_shrinkage_keeps_the_share_that_noise_does_not_explain():
    """Noise has 4 · (3 · 2 / 10)² = 1.44 of ‖g‖² = 5.76 here: three quarters are left."""
    np.testing.assert_allclose(shrunk(0.0, 2.4, 0, 0, 0), [1.8, 0, 0, 0])
    assert not shrunk(0.0, 0.5, 0.5, 0.5, 0.5).any()


def test_shrinkage_remembers_over_steps_and_recovers_the_share_of_the_signal():
    rng, signal = np.random.default_rng(0), np.array([0.3, 0.3, -0.3, 0.3])
    transform, shares = shrinkage(0.995), []
    state = transform.init()
    for _ in range(4000):
        noisy = signal + 0.6 * rng.standard_normal(4)
        update, state = transform.update(Update(noisy), state, PLAN)
        shares.append(float((update.values_K / noisy)[0]))
    expected = 0.36 / (0.36 + 1.44)
    assert np.mean(shares[1000:]) == pytest.approx(expected, abs=0.05)


def test_a_running_mean_weighs_what_it_saw_to_one():
    mean, state = running_mean(0.9, (0.0, 0.0), 4.0)
    assert mean == pytest.approx(4.0)
    mean, _ = running_mean(0.9, state, 2.0)
    assert mean == pytest.approx((0.09 * 4.0 + 0.1 * 2.0) / 0.19)


def test_a_chain_applies_its_transforms_in_order_and_keeps_the_states_of_those_that_remember():
    double = stateless("double", lambda update: Update(2 * update.values_K, update.pull, update.momentum))
    chain = Chain([shrinkage(0.0), double, proximal_pull(0.5), momentum(0.9)])
    states = chain.init()
    assert states == {"energy": (0.0, 0.0)}  # the key that snapshots have
    update, following = chain.update(Update(np.array([2.4, 0, 0, 0])), states, PLAN)
    np.testing.assert_allclose(update.values_K, [3.6, 0, 0, 0])
    assert (update.pull, update.momentum, chain.needs_anchor) == (0.5, 0.9, True)
    assert set(following) == {"energy"} != following["energy"] != states["energy"]
    assert states == chain.init()  # pure: the states given are left as they are
    assert not Chain([momentum(0.9)]).needs_anchor
