"""`dpzo init`: from a data file and a model to a commented configuration that runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator.api.views.console import progress_console
from orchestrator.cli.start.draft import Draft
from orchestrator.cli.start.proposal import declared, head_of, label_words, method_for, model_config, size_of
from orchestrator.cli.start.questions import ask
from orchestrator.cli.start.survey import Survey, public_labels, require_header, survey
from orchestrator.config.json_schema import SCHEMA_FILE, schema_json
from orchestrator.config.loading import load_sweep
from trainers.tasks.catalogue import find_task
from trainers.workspace import check_inputs

_WHAT = {"causal-lm": "chooses between label words", "masked-lm": "puts a label word at [MASK]"}
DEFAULT_EPSILON = 3.0


@dataclass(frozen=True)
class Wishes:
    """What the user gave by flags; None is asked for on a terminal, or found."""

    data: str | None
    model: str
    task: str | None = None
    texts: Sequence[str] = ()
    label: str | None = None
    labels: str | None = None
    target: str | None = None
    validation: str | None = None
    num_examples: int | None = None
    epsilon: float | None = None


def write_configuration(wishes: Wishes, to: Path) -> None:
    """Survey the data, write a configuration to `to` and its schema beside it, and check that every row can be read.

    Raises:
        ValueError: the data have no label, the model cannot be read, ε is missing without a terminal, or `to` exists.
    """
    if to.exists():
        raise ValueError(f"{to} exists already; give another file by --to")
    config = model_config(wishes.model)
    head = head_of(config)
    train, validation = _sources(wishes)
    with progress_console().status("reading the data"):
        found = survey(train)
    if wishes.task is None:
        task, used = _task(found, wishes, head, wishes.model)
    else:
        task, used = {"name": wishes.task}, {}
    progress_console().print(_table(found, used))
    draft = Draft(
        name=to.stem,
        train=train,
        num_examples=_num_examples(found, wishes),
        validation=validation,
        task=task,
        model=wishes.model,
        head="sequence-classification" if "labels" in task else head,
        method=method_for(head, size_of(config)),
        epsilon=ask("--epsilon", "ε of the whole search", wishes.epsilon, DEFAULT_EPSILON, needed=True),
    )
    _check(draft.text())
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(draft.text(), encoding="utf-8")
    (to.parent / SCHEMA_FILE).write_text(schema_json(), encoding="utf-8")


def _check(text: str) -> None:
    import yaml

    with progress_console().status("checking every row and the label words with the model's tokenizer"):
        check_inputs(load_sweep(yaml.safe_load(text)))


def _sources(wishes: Wishes) -> tuple[str, str | None]:
    if wishes.data is not None:
        return wishes.data, wishes.validation
    if wishes.task is None:
        raise ValueError("name the data file, or a task of the catalogue by --task, such as sst2")
    of_hub = find_task(wishes.task).sources()
    return of_hub["train"], wishes.validation or of_hub["validation"]


def _num_examples(found: Survey, wishes: Wishes) -> int:
    return ask("--num-examples", "Number of examples to declare", wishes.num_examples, declared(found.num_rows))


def _task(found: Survey, wishes: Wishes, head: str, model: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the task section, and what each column is used for."""
    if wishes.target is not None:
        target = found.column(wishes.target, "--target")
        texts = list(wishes.texts) or found.texts(target.name)
        _require_names(found, [target.name, *texts])
        used = {target.name: "text to generate", **dict.fromkeys(texts, "prompt")}
        return {"template": _prompt(texts) + "\n", "target": f"{{{target.name}}}"}, used
    label = found.column(wishes.label, "--label") if wishes.label else found.label()
    texts = list(wishes.texts) or found.texts(label.name)
    _require_names(found, [label.name, *texts])
    labels = public_labels(label) if wishes.labels is None else [one.strip() for one in wishes.labels.split(",")]
    used = {label.name: "label", **dict.fromkeys(texts, "prompt")}
    return {"label_column": label.name, **_answers(texts, labels, head, model)}, used


def _answers(texts: Sequence[str], labels: Sequence[str], head: str, model: str) -> dict[str, Any]:
    """Return template and label words for a language model, or template and classes for a classification head."""
    end, words = label_words(labels)
    if head == "causal-lm":
        return {"template": _prompt(texts) + end, "label_words": words}
    if head == "masked-lm" and _are_single_tokens(list(words.values()), model):
        return {"template": f"{_prompt(texts)}{end} [MASK].", "label_words": words}
    return {"template": _prompt(texts), "labels": list(labels)}


def _are_single_tokens(words: Sequence[str], model: str) -> bool:
    from trainers.data.tokenization import load_tokenizer

    tokenizer = load_tokenizer(model)
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    return all(len(one) == 1 and one[0] != tokenizer.unk_token_id for one in ids)


def _require_names(found: Survey, names: Sequence[str]) -> None:
    require_header([found.column(name, "--text") for name in names])


def _prompt(texts: Sequence[str]) -> str:
    return "\n".join(f"{{{name}}}" for name in texts)


def _table(found: Survey, used: dict[str, str]) -> Table:
    """Return what was found, for the terminal of the operator alone."""
    table = Table("column", "different values", "characters (mean)", "used as", box=None)
    for column in found.columns:
        values = "many" if column.counts is None else str(len(column.counts))
        table.add_row(column.name, values, f"{column.characters:.0f}", used.get(column.name, ""))
    return table
