"""The files for Prometheus and Grafana name gauges that there are, with tags that these have."""

import json
import re
from pathlib import Path

import pytest
import yaml

from orchestrator.sweep.ray_metrics import GAUGES

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_gauge_is_on_the_dashboard():
    assert set(re.findall(r"ray_(dpzo_\w+)\{", " ".join(EXPRESSIONS))) == set(GAUGES)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_panel_asks_for_tags_that_its_gauge_has(expression):
    for tags, name in re.findall(r"max by \(([\w, ]+)\) \(ray_(dpzo_\w+)\{sweep=~\"\$sweep\"\}\)", expression):
        assert set(tags.split(", ")) <= set(GAUGES[name][0])
    assert expression.count("max by") == expression.count("ray_dpzo")


def test_panels_have_places_and_numbers_of_their_own():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})


def test_prometheus_keeps_the_gauges_of_all_nodes():
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}]
    (rule,) = job["metric_relabel_configs"]
    assert (rule["source_labels"], rule["action"]) == (["__name__"], "keep")
    assert all(re.fullmatch(rule["regex"], f"ray_{name}") for name in GAUGES)
