"""Writes the privacy card beside a model: README.md for people and for a model hub, privacy_card.json for programs.

The same run gives the same bytes: the card holds no time, no path and nothing of this machine.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCardData

from orchestrator.privacy.display import epsilon_text, source_name
from orchestrator.privacy.statement.card import BY_HAND, Evidence, PrivacyCard, Refinement, ReleaseLog, claim_of
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.files import write_whole
from trainers.config import RunConfig
from trainers.mechanism.log_reading import ReleasedSteps
from trainers.methods.catalogue import METHODS

CARD_JSON, CARD_README = "privacy_card.json", "README.md"
_PIPELINES = {
    "causal-lm": "text-generation",
    "masked-lm": "fill-mask",
    "sequence-classification": "text-classification",
}
_SHOWN = ("num_steps", "num_directions", "smoothing", "clip_norm", "learning_rate", "direction", "seed")


def write_card(
    folder: Path,
    config: RunConfig,
    statement: PrivacyStatement,
    log: Path,
    trained_on_public: bool = False,
    refinement: Refinement | None = None,
    is_merged: bool = False,
    base_digest: str | None = None,
    evidence: Evidence | None = None,
) -> None:
    """Write both files of a card into the folder of a model.

    Args:
        config: of the run or trial that trained it.
        statement: of the run or sweep.
        log: its release log; where there is none, none is released.
        trained_on_public: it is a trial on the public rows of `search.tune_on`.
        refinement: what was done to the weights afterwards.
        is_merged: the adapter that was trained is added to the weights of the base model.
        base_digest: of the base model's weights, where the log's header has not all of them.
        evidence: what an attack reached.
    """
    if refinement is not None:
        statement = _with_refinement(statement, refinement)
    card = PrivacyCard(
        name=config.name,
        base_model=source_name(config.model.path),
        trained=f"{config.model.trainable}, merged" if is_merged else config.model.trainable,
        method=METHODS[config.method.name].title,
        trained_on="public rows alone" if trained_on_public else "private rows",
        claim=claim_of(statement),
        public_information=statement.public_data,
        not_covered=statement.not_covered,
        ledger_digest=statement.ledger_digest,
        release_log=_release_log(log, base_digest),
        refinement=refinement,
        evidence=evidence,
        statement=statement,
    )
    write_whole(folder / CARD_JSON, card.json_text())
    write_whole(folder / CARD_README, card_markdown(card, config))


def _with_refinement(statement: PrivacyStatement, done: Refinement) -> PrivacyStatement:
    """Return the statement of a model whose weights were changed after training."""
    if done.chosen_on == BY_HAND:
        added = f"After training: {done.kind}. These numbers were given by hand, and how they were chosen is not known."
        return statement.model_copy(update={"not_covered": (*statement.not_covered, added)})
    rows = f"{done.chosen_on}, which chose what was done after training at 0 ε: {done.kind}"
    return statement.model_copy(update={"public_data": (*statement.public_data, rows)})


def _release_log(path: Path, base_digest: str | None) -> ReleaseLog | None:
    if not path.is_file():
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ReleaseLog(sha256=digest, steps=ReleasedSteps(path)(), base_model_sha256=base_digest)


def card_markdown(card: PrivacyCard, config: RunConfig) -> str:
    """Return a model card in Markdown, with the metadata that a model hub reads."""
    metadata = _metadata(card, config).to_yaml(line_break="\n")
    return f"---\n{metadata}\n---\n\n" + "\n".join(_lines(card, config)) + "\n"


def _metadata(card: PrivacyCard, config: RunConfig) -> ModelCardData:
    is_adapter, sources = card.trained == "lora", (config.data.train, config.data.validation)
    datasets = [source.removeprefix("hub:").partition(":")[0] for source in sources if source and source[:4] == "hub:"]
    return ModelCardData(
        base_model=card.base_model,
        base_model_relation="adapter" if is_adapter else "finetune",
        datasets=list(dict.fromkeys(datasets)) or None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=_PIPELINES[config.model.head],
        tags=["differential-privacy", "dpzo", config.method.name] if card.claim else ["dpzo", config.method.name],
        license=_license_of(config.model.path),
    )


def _license_of(model: str) -> str | None:
    """Return the licence that the base model's own card names, where its folder has one."""
    readme = Path(model).expanduser() / CARD_README
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.is_file() else []
    if not lines or lines[0] != "---":
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), None)


def _lines(card: PrivacyCard, config: RunConfig) -> Iterator[str]:
    yield from (f"# {card.name}", "", _headline(card), "")
    if card.claim is not None:
        yield from ("## Differential privacy", "", "In the terms of NIST SP 800-226:", "")
        yield from _table({"ε": epsilon_text(card.claim.epsilon), "δ": epsilon_text(card.claim.delta)} | _terms(card))
    yield from ("", "## What is public", "", *(f"- {item}" for item in card.public_information or ("nothing",)), "")
    if card.refinement is not None:
        yield from ("## After training", "", _post_processing(card.refinement), "")
    yield from ("## What no ε covers", "", *(f"- {sentence}" for sentence in card.not_covered), "")
    yield from ("## How it was trained", "", *_table(_settings(card, config)), "")
    if card.evidence is not None:
        yield from _evidence(card)
    yield from ("## Privacy statement", "", "```text", card.statement.text().rstrip("\n"), "```", "")
    yield f"`{CARD_JSON}` holds this card for programs."


def _post_processing(done: Refinement) -> str:
    """Return what was done to the weights, and why it costs nothing."""
    if done.chosen_on == BY_HAND:
        why = "Its numbers were given by hand. It costs 0 ε if no private row was looked at to choose them."
    else:
        why = f"It was chosen on {done.chosen_on}, and reads released values alone: 0 ε."
    return f"{done.kind[:1].upper()}{done.kind[1:]}. {why}"


def _headline(card: PrivacyCard) -> str:
    if card.trained_on == "public rows alone":
        return "This model was trained on public rows alone. The statement below is that of the search it belongs to."
    if card.claim is None:
        return "**This model is not private.** Treat its weights like the examples that it was trained on."
    total = f"total ε = {epsilon_text(card.claim.epsilon)} at δ = {epsilon_text(card.claim.delta)}"
    return (
        "This model was fine-tuned on private data. Everything that was released about these data, this model "
        f"included, is differentially private for {card.claim.unit_of_privacy}: **{total}**. The search for its "
        "settings is in it."
    )


def _terms(card: PrivacyCard) -> dict[str, str]:
    assert card.claim is not None
    given = card.claim.model_dump(exclude={"epsilon", "delta"})
    return {name.replace("_", " ").capitalize(): value for name, value in given.items()}


def _settings(card: PrivacyCard, config: RunConfig) -> dict[str, str]:
    method = config.method.model_dump(mode="json")
    settings = {"base model": card.base_model, "parameters that train": card.trained, "method": card.method}
    settings |= {name.replace("_", " "): str(method[name]) for name in _SHOWN if method.get(name) is not None}
    settings["expected batch size"] = f"{config.privacy.expected_batch_size:g}"
    if card.release_log is not None:
        settings["release log (SHA-256)"] = card.release_log.sha256
    settings["ledger (SHA-256)"] = card.ledger_digest
    return settings


def _evidence(card: PrivacyCard) -> Iterator[str]:
    assert card.evidence is not None
    yield from ("## Evidence", "", "An attack can refute the claim above. It can never prove it.", "")
    yield from (*_table({name.replace("_", " "): str(value) for name, value in card.evidence}), "")


def _table(rows: dict[str, str]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, value in rows.items():
        yield f"| {name} | {value.replace('|', '&#124;')} |"
