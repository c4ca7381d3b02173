"""The checks of `dpzo doctor --cluster`: what the preflight of a sweep would say of the cluster and its nodes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group_table

from orchestrator.checks.doctor.findings import Diagnosis, Finding, first_line
from orchestrator.cluster.demand import Demand, demand_of, require_resources
from orchestrator.cluster.nodes import NodeReport, node_reports
from orchestrator.cluster.preflight import require_ledger_for, require_state_api, require_tokens
from orchestrator.cluster.session import cluster_connection, local_inputs, threads_per_trial
from orchestrator.config.loading import load_run, load_sweep, read
from orchestrator.config.models import SweepConfig
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths
from trainers.config import RunConfig

NO_FILE = Finding(
    name="storage, ledger",
    state="absent",
    found="not tested: name the file of a sweep or run to test them and its size",
)
MAX_SHOWN = 5  # lines of what is pending


def diagnose_cluster(source: Path | None, overrides: Sequence[str] = ()) -> Diagnosis:
    """Check the cluster at RAY_ADDRESS, for a sweep or run where a configuration is given; reserve nothing.

    ConfigError if the configuration cannot be read; ValueError for overrides without one, and for paths in it that
    cannot be used.
    """
    if source is None and overrides:
        raise ValueError("--set changes a configuration, and none is given. Name its file, or leave --set out.")
    config = None if source is None else with_absolute_paths(_loaded(source, overrides))
    return Diagnosis(findings=list(_cluster(config)))


def _loaded(source: Path, overrides: Sequence[str]) -> RunConfig:
    return (load_sweep if "search" in read(source) else load_run)(source, overrides)


def _cluster(config: RunConfig | None) -> Iterator[Finding]:
    try:
        with cluster_connection() as dashboard_url:
            nodes = ray.nodes()
            alive = [node for node in nodes if node["Alive"]]
            address = ray.get_runtime_context().gcs_address
            yield Finding(name="Ray", state="ok", found=f"{len(alive)} nodes, head at {address}")
            yield _checked("dashboard", f"http://{dashboard_url}", lambda: require_state_api(dashboard_url))
            yield _checked("authentication", "it asks for a token", lambda: require_tokens(dashboard_url))
            yield from _nodes(alive, None if config is None else storage_of(config), config)
            if config is not None:
                yield _demand(config, alive)
            yield from _pending(alive)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        yield Finding(name="Ray", state="failed", found=first_line(error))


def _nodes(nodes: Sequence[Mapping[str, Any]], storage: Storage | None, config: RunConfig | None) -> Iterator[Finding]:
    """Yield a finding for each node, and one for storage and ledger as all of them see these."""
    reports = node_reports(nodes, storage, None if config is None else local_inputs(config))
    for node, report in zip(nodes, reports, strict=True):
        yield _node(node, report)
    if storage is None:
        yield NO_FILE
    elif all(report.problem is None for report in reports):
        seen = f"{storage.root} and its locks are seen from {len(nodes)} nodes"
        if storage.url is not None:
            seen = f"{storage.url}; release logs lie in the ledger's database"
        yield Finding(name="storage", state="ok", found=seen)
        reached = "a file on one machine" if storage.ledger_url is None else f"reached from {len(nodes)} nodes"
        yield _checked("ledger", reached, lambda: require_ledger_for(storage, nodes))


def _node(node: Mapping[str, Any], report: NodeReport) -> Finding:
    has = [f"{node['Resources'].get(name, 0):g} {name}s" for name in ("CPU", "GPU")]
    has += [name.partition(":")[2] for name in node["Resources"] if name.startswith("accelerator_type:")]
    shown = ", ".join([*has, *([str(report.versions)] if report.versions else [])])
    name = f"node {report.host} ({report.address})"
    if report.problem is None:
        return Finding(name=name, state="ok", found=shown)
    return Finding(name=name, state="failed", found=shown, hint=report.problem)


def _demand(config: RunConfig, nodes: Sequence[Mapping[str, Any]]) -> Finding:
    """Return whether the run or sweep has room, and whether others hold that room now."""
    demand = demand_of(config, threads_per_trial(config) if isinstance(config, SweepConfig) else None)
    free = demand.room(_as_free(nodes))
    shown = f"{demand.what} want {demand}; room for {demand.room(nodes)}, {free} of it free now"
    if free < demand.count:
        shown += ": the rest waits until others end"
    return _checked("demand", shown, lambda: require_resources(demand, nodes))


def _pending(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each thing that others wait for, and why."""
    groups = [group for group in placement_group_table().values() if group["state"] == "PENDING"]
    for group in groups[:MAX_SHOWN]:
        bundles = list(group["bundles"].values())
        sizes = [Demand(1, bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)) for bundle in bundles]
        largest = max(sizes, key=lambda size: (size.gpus, size.cpus))
        waiting = replace(largest, count=len(bundles))
        why = "others hold it" if waiting.room(nodes) >= waiting.count else f"there is room for {waiting.room(nodes)}"
        yield Finding(name="pending", state="absent", found=f"{waiting} wait: {why}")
    if len(groups) > MAX_SHOWN:
        yield Finding(name="pending", state="absent", found=f"and {len(groups) - MAX_SHOWN} more")


def _as_free(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes with what is free on them at this moment."""
    free = available_resources_per_node()
    return [{**node, "Resources": free.get(node["NodeID"], {})} for node in nodes]


def _checked(name: str, good: str, check: Callable[[], None]) -> Finding:
    """Return the finding of a check that raises a ValueError where the preflight would refuse."""
    try:
        check()
    except ValueError as error:
        return Finding(name=name, state="failed", found=first_line(error))
    return Finding(name=name, state="ok", found=good)
