"""What a run or sweep asks of a Ray cluster at once, and the room that the nodes have for it.

Ray waits forever for a resource that no node has, so the room is counted before anything is reserved.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray._private.label_utils import validate_label_selector

from orchestrator.config.models import SweepConfig
from trainers.config import RunConfig

_UNITS = {"CPU": "CPUs", "GPU": "GPUs"}
_TYPE = "accelerator_type:"  # Ray's resource of each node that has GPUs of a type
_SELECTOR = re.compile(r"(!?)(?:in\((.*)\)|(.*))")  # Ray's: value, !value, in(one,other), !in(one,other)


@dataclass(frozen=True)
class Demand:
    """The workers that run at once; all have the same size, and each fits on one node.

    Args:
        count: workers of all trials together.
        cpus, gpus: CPU cores and GPUs of each.
        what: how the count comes about, such as "2 trials at once × 4 workers".
        accelerator: Ray's name of the GPUs' type, such as "L4"; any type when None.
        labels: of the nodes that are used, each with Ray's selector of its values.
    """

    count: int
    cpus: float
    gpus: float = 0.0
    what: str = "1 trial at once"
    accelerator: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def resources_per_worker(self) -> dict[str, float]:
        """The resources of one worker, by Ray's names."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {}) | self._of_type

    @property
    def task_options(self) -> dict[str, Any]:
        """Ray's options of a task that has the resources of one worker."""
        labels = {"label_selector": dict(self.labels)} if self.labels else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": self._of_type} | labels

    def room(self, nodes: Sequence[Mapping[str, Any]]) -> int:
        """Return how many of the workers fit on the nodes that are alive, each with its `Resources` and `Labels`."""
        return sum(
            _num_fitting(self.resources_per_worker, node["Resources"])
            for node in nodes
            if node["Alive"] and _has_labels(node, self.labels)
        )

    def __str__(self) -> str:
        """Return the workers as a refusal shows them, such as "2 × (1 CPUs and 1 GPUs of type L4)"."""
        each = " and ".join(f"{self.resources_per_worker[name]:g} {_UNITS[name]}" for name in self._units)
        of_type = f" of type {self.accelerator}" if self.accelerator else ""
        labels = ", ".join(f"{name}: {value}" for name, value in self.labels.items())
        return f"{self.count} × ({each}{of_type}{f', on nodes labelled {labels}' if labels else ''})"

    def shown_of(self, node: Mapping[str, Any]) -> str:
        """Return what a node has of the things asked for, such as "head: 4 CPUs, 0 GPUs"."""
        parts = [f"{node['Resources'].get(name, 0):g} {_UNITS[name]}" for name in self._units]
        if self.accelerator:
            parts += [name.removeprefix(_TYPE) for name in node["Resources"] if name.startswith(_TYPE)]
        parts += [f"{name}: {node['Labels'][name]}" for name in self.labels if name in node.get("Labels", {})]
        return f"{node['NodeManagerHostname']}: {', '.join(parts)}"

    @property
    def _of_type(self) -> dict[str, float]:
        return {} if self.accelerator is None else {f"{_TYPE}{self.accelerator}": 0.001}

    @property
    def _units(self) -> list[str]:
        return [name for name in self.resources_per_worker if name in _UNITS]


def demand_of(config: RunConfig, threads: int | None = None) -> Demand:
    """Return the workers of a run, or of a sweep's trials at once; each has `threads` threads."""
    resources = config.resources
    concurrent = config.search.concurrent_trials if isinstance(config, SweepConfig) else 1
    cpus = (resources.cpus_per_worker if resources.is_distributed else None) or threads
    return Demand(
        concurrent * resources.workers,
        cpus or config.performance.num_threads or 1,
        resources.gpus_per_worker,
        what=f"{concurrent} trials at once" + (f" × {resources.workers} workers" if resources.workers > 1 else ""),
        accelerator=resources.accelerator,
        labels=resources.labels,
    )


def require_resources(demand: Demand, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a demand that the nodes (`ray.nodes()`) can never meet at once; the ValueError shows the arithmetic."""
    if (problem := validate_label_selector(dict(demand.labels))) is not None:
        raise ValueError(f"resources.labels: {problem}")
    if (room := demand.room(nodes)) >= demand.count:
        return
    present = "; ".join(demand.shown_of(node) for node in nodes if node["Alive"])
    settings = ["search.concurrent_trials", "resources.workers", "performance.num_threads"]
    settings += ["resources.accelerator"] * (demand.accelerator is not None)
    settings += ["resources.labels"] * bool(demand.labels)
    raise ValueError(
        f"{demand.what} want {demand} at once; the Ray cluster has room for {room} ({present}). "
        f"{'Lower' if len(settings) == 3 else 'Change'} {', '.join(settings[:-1])} or {settings[-1]}, or add nodes."
    )


def _num_fitting(each: Mapping[str, float], has: Mapping[str, float]) -> int:
    return min(math.floor(has.get(name, 0.0) / amount + 1e-9) for name, amount in each.items())


def _has_labels(node: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether Ray would place a worker with this label selector on the node."""
    has = node.get("Labels", {})
    for name, selector in labels.items():
        match = _SELECTOR.fullmatch(selector)
        assert match is not None  # it matches any text
        negated, several, one = match.groups()
        values = [one] if several is None else [value.strip() for value in several.split(",")]
        if (has.get(name) in values) == bool(negated):
            return False
    return True
