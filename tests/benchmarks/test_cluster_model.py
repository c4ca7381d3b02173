import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    return SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "cluster_model.py")))


def test_the_table_of_the_documentation_is_what_the_model_says(model):
    text = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- from benchmarks/cluster_model.py -->\n(.*)\n<!-- end -->", text, re.DOTALL)
    assert table.splitlines() == list(model.rows())


def test_more_workers_never_slow_down_what_they_divide(model):
    for one in model.MODELS:
        for work in model.WORKS:
            costs = [model.cost_of(one, work, workers) for workers in (1, 2, 8, 64)]
            assert [cost.forward_s for cost in costs] == sorted((cost.forward_s for cost in costs), reverse=True)
            assert len({cost.perturbation_s for cost in costs}) == 1


def test_one_worker_waits_for_nobody(model):
    cost = model.cost_of(model.MODELS[0], model.WORKS[0], 1)
    assert abs(cost.waiting_s) < 0.01 * cost.forward_s
