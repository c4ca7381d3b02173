"""A new paper is one file and one row of the catalogue: a toy paper is configured, planned, trained and searched with.

The toy takes the signs of the released values, in place of the values, and starts from its own defaults.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.sweep.driver import run_sweep
from search_spaces.space import Space
from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.inline import without_cluster
from tests.support.project import write_project
from tests.support.quadratic import Quadratic
from tests.support.runs import open_run, run_config
from tests.support.settings import quick_settings
from trainers.config import MethodConfig
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.methods.spec import ZEROTH_ORDER, MethodSpec, Preset, configured
from trainers.methods.transforms.base import stateless

# the paper's file


def few_directions(method: MethodConfig) -> None:
    if method.num_directions > method.num_steps:
        raise ValueError("SignZO takes at most as many directions as steps")


signs = stateless("signs", lambda update: replace(update, values_K=np.sign(update.values_K)))

SIGN_ZO = MethodSpec(
    title="SignZO",
    source="a toy",
    num_directions=(2, 8),
    settings=ZEROTH_ORDER - {"difference"},
    defaults={"num_directions": 3, "direction": "rademacher", "learning_rate": 0.01},
    check=few_directions,
    transforms=lambda method: [*configured(method), signs],
    presets={"tiny": Preset(("causal-lm",), (1, 1e9), "B 20", {"num_steps": 5})},
    grids={"tiny": {"method.learning_rate": {"choices": [0.01, 0.1]}}},
)


@pytest.fixture(autouse=True)
def catalogue(monkeypatch):
    monkeypatch.setitem(METHODS, "sign-zo", SIGN_ZO)  # the row


def test_it_is_configured_with_its_own_defaults_and_checks():
    method = MethodConfig.model_validate({"name": "sign-zo"})
    assert (method.num_directions, method.direction, method.learning_rate) == (3, "rademacher", 0.01)
    assert MethodConfig.model_validate({"preset": "sign-zo/tiny"}).num_steps == 5
    for wrong, complaint in (
        ({"difference": "centred"}, "SignZO has no difference: remove method.difference"),
        ({"num_directions": 9}, "SignZO takes num_directions 2 to 8, not 9"),
        ({"num_steps": 2}, "SignZO takes at most as many directions as steps"),
    ):
        with pytest.raises(ValueError, match=complaint):
            MethodConfig.model_validate({"name": "sign-zo", **wrong})
    with pytest.raises(ValueError, match=r"unknown method 'sgn-zo'\. Did you mean 'sign-zo'\? Known: mezo, "):
        MethodConfig.model_validate({"name": "sgn-zo"})


def test_it_trains_by_its_transform_and_its_log_replays(tmp_path):
    config = run_config(method__name="sign-zo", method__learning_rate=0.05, method__momentum=0.5)
    first, again = Quadratic(), Quadratic()
    batches = FrozenSampler([range(9)] * config.method.num_steps)
    run = open_run(tmp_path, config, evaluator=first, sampler=batches, noise=FrozenNoise(3))
    with run.log:
        list(run.segments())
    assert {abs(weight) for update in first.updates for _, weight in update} == {0.05 * 0.5}
    replayed = open_run(tmp_path, config, evaluator=again, tokens=LocalTokens(0))
    with replayed.log:
        replayed.replay()
    assert again.state_digest() == first.state_digest()


def test_it_is_planned_and_searched_with(tmp_path, monkeypatch):
    settings = quick_settings(write_project(tmp_path), tmp_path)
    settings["method"] = {"name": "sign-zo", "num_steps": 4, "clip_norm": 1.0}
    settings["search"]["space"] = "sign-zo/tiny"
    without_cluster(monkeypatch)
    result = run_sweep(make_plan(load_sweep(settings)))
    assert [row.steps for row in result.trials] == [4, 4, 4]
    assert {row.values["method.learning_rate"] for row in result.trials} <= {0.01, 0.1}
    del settings["search"]
    assert make_plan(load_run(settings)).epsilon > 0
    space = Space.model_validate({"method.num_directions": {"low": 2, "high": 8}})
    assert 2 <= space.sample(np.random.default_rng(0))["method.num_directions"] <= 8
