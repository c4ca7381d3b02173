"""The secret number of candidates: the declared law, and no other."""

from __future__ import annotations

import itertools
import math
import random
from decimal import Decimal, localcontext

import pytest
from scipy.stats import chisquare, geom, logser, nbinom, poisson

from orchestrator.privacy.rules.repetitions import Repetitions, mean_of

NUM_DRAWS = 4_000
LAWS = [
    Repetitions(law="geometric", mean=5.0),
    Repetitions(law="logarithmic", mean=5.0),
    Repetitions(law="poisson", mean=5.0),
    Repetitions(law="negative-binomial", mean=5.0, shape=0.5),
    Repetitions(law="negative-binomial", mean=5.0, shape=3.0),
]


def reference(number):
    """P(K = k) for k = 0, 1, … by scipy."""
    if number.law == "poisson":
        return lambda k: poisson.pmf(k, number.mean)
    if number.law == "geometric":
        return lambda k: geom.pmf(k, number.gamma)
    if number.law == "logarithmic":
        return lambda k: logser.pmf(k, 1 - number.gamma) if k else 0.0
    untruncated = nbinom(number.shape, number.gamma)
    return lambda k: untruncated.pmf(k) / (1 - untruncated.pmf(0)) if k else 0.0


def p_value(draws, law):
    """Chi-square of counts in bins of at least 20 expected draws, the last open."""
    edges, total = [0], 0.0
    for k in itertools.count():
        total += law(k)
        if total * len(draws) >= 20:
            edges.append(k + 1)
            total = 0.0
        if sum(law(j) for j in range(edges[-1])) > 1 - 20 / len(draws):
            break
    probabilities = [sum(law(k) for k in range(a, b)) for a, b in itertools.pairwise(edges)]
    counts = [sum(a <= draw < b for draw in draws) for a, b in itertools.pairwise(edges)]
    counts.append(len(draws) - sum(counts))
    probabilities.append(1 - sum(probabilities))
    return chisquare(counts, [len(draws) * p for p in probabilities]).pvalue


@pytest.mark.parametrize("number", LAWS, ids=lambda number: f"{number.law}-{number.shape}")
def test_draws_have_the_declared_law_and_not_a_nearby_one(number):
    rng = random.Random(20261122)
    draws = [number.draw_number(rng) for _ in range(NUM_DRAWS)]
    assert p_value(draws, reference(number)) > 1e-3
    wrong = number.model_copy(update={"mean": number.mean * (1.5 if number.law == "logarithmic" else 1.2)})
    assert p_value(draws, reference(wrong)) < 1e-3
    if number.law != "poisson":
        assert p_value(draws, reference(Repetitions(law="poisson", mean=5.0))) < 1e-6
        assert min(draws) == 1


@pytest.mark.parametrize("number", LAWS, ids=lambda number: f"{number.law}-{number.shape}")
def test_probabilities_are_scipys_and_have_the_declared_mean(number):
    law = reference(number)
    masses = list(itertools.islice(number.masses(), 400))
    for k, mass in masses[:60]:
        assert float(mass) == pytest.approx(law(k), rel=1e-9)
    assert float(sum(mass for _, mass in masses)) == pytest.approx(1.0, abs=1e-9)
    assert float(sum(k * mass for k, mass in masses)) == pytest.approx(number.mean, rel=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.01, 0.5, 1.0, 2.0, 50.0])
@pytest.mark.parametrize("mean", [1.0, 1.001, 2.0, 10.0, 9_999.0])
def test_gamma_gives_the_mean_and_never_more(eta, mean):
    law = {0.0: "logarithmic", 1.0: "geometric"}.get(eta, "negative-binomial")
    number = Repetitions(law=law, mean=mean, shape=eta if law == "negative-binomial" else None)
    found = mean_of(number.gamma, eta)
    assert found <= mean
    assert found == pytest.approx(mean, rel=1e-9)
    assert number.eta == eta


def test_a_small_shape_is_nearly_logarithmic_and_shape_one_is_geometric():
    assert mean_of(0.1, 1e-9) == pytest.approx(mean_of(0.1, 0.0), rel=1e-6)
    assert mean_of(0.1, 1.0) == pytest.approx(10.0)


def test_the_largest_number_is_the_last_that_can_be_drawn():
    class Ones(random.Random):
        def getrandbits(self, k):
            return 2**k - 1

    class Zeros(random.Random):
        def getrandbits(self, k):
            return 0

    for number in LAWS:
        assert number.draw_number(Ones()) == number.largest
        assert number.draw_number(Zeros()) == (0 if number.law == "poisson" else 1)
        with localcontext(prec=60):
            masses = list(itertools.islice(number.masses(), number.largest + 1))
            below = sum(mass for k, mass in masses if k < number.largest)
            last = sum(mass for k, mass in masses if k == number.largest)
            least = 1 - Decimal(2) ** -128
            assert below <= least < below + last
    # (1 − 1/5)^n < 2^-128
    assert LAWS[0].largest == math.ceil(128 * math.log(2) / -math.log(0.8))


def test_a_mean_of_one_is_one_candidate():
    number = Repetitions(mean=1.0)
    assert number.largest == 1
    assert {number.draw_number() for _ in range(20)} == {1}


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": 0.99},
        {"mean": 1e5},
        {"mean": math.nan},
        {"mean": 5.0, "shape": 2.0},
        {"mean": 5.0, "law": "negative-binomial"},
        {"mean": 5.0, "law": "negative-binomial", "shape": 0.0},
        {"mean": 5.0, "law": "fixed"},
    ],
    ids=str,
)
def test_laws_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match=r"mean|shape|law"):
        Repetitions.model_validate(fields)
