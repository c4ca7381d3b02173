"""The papers' tasks by name: `task.name: sst2` fills in what the configuration leaves out.

A name gives the prompt and the label words for the model's head, the label column, and the metric. If the configuration
has no data.train, it also gives the data set on the hub. A local file needs the columns of that data set.
"""

import difflib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from trainers.tasks.task import CAUSAL, Prompt, Task

_KINDS = ("label_words", "labels", "options", "target")


def filled_in(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration's mapping with the settings of the task that it names; its own settings win.

    ValueError for an unknown name, or a task that has no prompt for the model's head.
    """
    given = values.get("task")
    if not isinstance(given, dict) or given.get("name") is None:
        return values
    task, head = find_task(str(given["name"])), _head_of(values)
    if head not in task.prompts:
        raise ValueError(
            f"task.name: {given['name']} has no prompt for head {head!r}; it has one for {', '.join(task.prompts)}. "
            "Use such a model, or write task.template and what to predict without a name"
        )
    own = {key: value for key, value in given.items() if value is not None}
    settings = task.settings(head)
    if any(kind in own for kind in _KINDS):  # an answer of another kind replaces the catalogue's
        settings = {key: value for key, value in settings.items() if key not in _KINDS}
    return {**values, "task": {**settings, **own}, "data": _data(values.get("data"), task)}


@cache
def catalogue() -> dict[str, Task]:
    entries = yaml.safe_load(files("trainers.tasks").joinpath("catalogue.yaml").read_text())
    return {
        name: Task(**{**entry, "prompts": {head: Prompt(**prompt) for head, prompt in entry["prompts"].items()}})
        for name, entry in entries.items()
    }


def find_task(name: str) -> Task:
    """Return a task by its name; ValueError with the nearest name if there is none."""
    tasks = catalogue()
    if name in tasks:
        return tasks[name]
    close = difflib.get_close_matches(name.lower().replace("_", "-"), tasks, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"task.name: there is no task {name!r} in the catalogue.{hint} Known tasks: {', '.join(tasks)}")


def _head_of(values: Mapping[str, Any]) -> str:
    model = values.get("model")
    head = model.get("head") if isinstance(model, dict) else getattr(model, "head", None)
    return head or CAUSAL


def _data(given: Any, task: Task) -> Any:
    """Return the data section; if it names no training data, with the task's splits on the hub."""
    if given is not None and not isinstance(given, dict):
        return given
    own = {key: value for key, value in (given or {}).items() if value is not None}
    return given if "train" in own else {**task.sources(), **own}
