"""From a configuration to a workspace and a run: checks that are cheap to fail come first.

`check_inputs` reads files, columns, tokenizer, label words and every row, before a model is loaded and before anything
is reserved. `open_workspace` then loads the model, and `open_run` opens a run on it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from itertools import compress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from trainers.config import RunConfig
from trainers.data.fingerprint import Fingerprint, require_same_rows
from trainers.data.prompts import PromptEncoder, public_examples
from trainers.data.public_rows import public_rows
from trainers.data.shots import few_shot
from trainers.data.sources import check_source, same_source, stream_rows
from trainers.data.split import identity_of_record, identity_of_user, validates
from trainers.data.tokenization import load_tokenizer
from trainers.directions.frames import DirectionLaw
from trainers.evaluators.base import Example, LossEvaluator, SelfTestable
from trainers.evaluators.model_files import adapter_base, limits
from trainers.evaluators.self_test import require_positions, self_test
from trainers.evaluators.vllm.adapters import probe_rank
from trainers.evaluators.vllm.checks import require_supported
from trainers.evaluators.vllm.package import require_vllm
from trainers.evaluators.vocabulary import require_context, require_ids_fit
from trainers.methods.catalogue import METHODS
from trainers.methods.presets import require_size_of_model
from trainers.run.base_run import BaseRun
from trainers.run.context import RunContext, Workspace
from trainers.run.estimator import selftest_probes
from trainers.run.method import smallest_resolution
from trainers.run.pruning import require_kept
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.tasks.templates import text_of

if TYPE_CHECKING:
    from trainers.first_order.gradients import UnitGradients

LOGGER = logging.getLogger(__name__)
PROOF_EXAMPLES = 4
_NOTHING: Mapping[str, str] = MappingProxyType({})


def check_inputs(config: RunConfig) -> None:
    """Check, without loading a model, that every row of the data can be read and prompted.

    Raises:
        ValueError: a file, column, tokenizer, label word, user or row is missing or unusable; one clear line.
    """
    for field, source, columns in _sources(config):
        check_source(source, columns, field)
    validation, learned_from = config.data.validation, config.data.public
    if learned_from and same_source(config.data.train, learned_from, "data.public"):
        raise ValueError(
            "data.public is the private file itself, and what is learned from it is not charged: give another"
        )
    if config.score.on == "public" and validation and same_source(config.data.train, validation, "data.validation"):
        raise ValueError(
            "data.validation is the private file itself, and scores on public data are not charged. Give another file, "
            "or score.on: private with score.num_examples, or data.validation_share."
        )
    tokenizer = load_tokenizer(config.model.path)
    _say_what_becomes_of_an_adapter(config)
    encoder = PromptEncoder(config.task, tokenizer)
    if config.performance.evaluator == "vllm":
        require_supported(config, public_examples(config.task, tokenizer, PROOF_EXAMPLES))
    for field, source, columns in _sources(config):
        _read(config, encoder, source, columns, field)
    public = public_rows(config, encoder)
    num_ids, context = limits(config.model.path, config.model.head)
    require_ids_fit(public, num_ids, "data.public")
    require_context(public, context)


def _say_what_becomes_of_an_adapter(config: RunConfig) -> None:
    base = adapter_base(config.model.path)
    if base is None:
        return
    becomes = (
        "goes on training"
        if config.model.trainable == "lora"
        else f"is merged into it; {config.model.trainable} trains"
    )
    LOGGER.warning("model.path: %s is an adapter over %s, and %s", config.model.path, base, becomes)


def open_workspace(
    config: RunConfig, *, private: bool = True, key: bytes | None = None, charged: Mapping[str, str] = _NOTHING
) -> Workspace:
    """Read and encode the data, load the model, and prove on public examples that its probes work.

    Args:
        config: the run's configuration.
        private: whether private rows are read. If not, there are no training examples, and none to score on unless
            they are public.
        key: secret key of the fingerprints and of the split, at least 16 bytes and always the same for a data set;
            needed with data.validation_share.
        charged: fingerprints, by field, of the rows that the run was charged for; others are refused.

    Raises:
        ValueError: the inputs are unusable, the key is missing or too short, or other rows were charged.
    """
    if private and config.data.validation_share is not None and key is None:
        raise ValueError("data.validation_share needs the key of its coin (key), kept with the data set's budget")
    tokenizer = load_tokenizer(config.model.path)
    encoder = PromptEncoder(config.task, tokenizer)
    read = {
        field: _read(config, encoder, source, columns, field, key)
        for field, source, columns in _sources(config)
        if private or not _is_private(config, field)
    }
    fingerprints = {field: encoded.fingerprint for field, encoded in read.items() if encoded.fingerprint is not None}
    public = _learned_from(config, encoder, key, fingerprints)
    require_same_rows(fingerprints, charged)
    train, validation = read.get("data.train", _Encoded([])), read.get("data.validation", _Encoded([]))
    if private and config.data.validation_share is not None:
        train, validation = _side(train, wanted=False), _side(train, wanted=True)
    evaluator, rounding = open_evaluator(config, tokenizer)
    require_positions(evaluator, [*train.examples, *validation.examples, *public])
    return Workspace(
        train.examples,
        validation.examples,
        evaluator,
        rounding,
        train.users,
        validation.users,
        gradients=_gradients(config, evaluator, tokenizer),
        fingerprints=fingerprints,
        public=public_examples(config.task, tokenizer, PROOF_EXAMPLES),
        public_rows=public,
    )


def _learned_from(
    config: RunConfig, encoder: PromptEncoder, key: bytes | None, fingerprints: dict[str, str]
) -> list[Example]:
    """Return the public rows that directions are learned from; with a key, add the fingerprint of their source."""
    seen = Fingerprint(key) if key is not None and config.data.public is not None else None
    public = public_rows(config, encoder, seen and seen.add)
    if seen is not None and config.uses_public_rows:
        fingerprints["data.public"] = seen.hexdigest()
    return public


class _Encoded(NamedTuple):
    """What one reading of a source leaves.

    Args:
        examples: of the rows that are kept.
        users: of the examples, if users are the unit of privacy.
        sides: for each example, whether it falls on the validation side of a split; whether a side is empty is private.
        fingerprint: keyed, of all rows; None without a key.
    """

    examples: list[Example]
    users: list[str] | None = None
    sides: Sequence[bool] = ()
    fingerprint: str | None = None


class _WholeRows:
    """Sees whole rows while they are read: their fingerprint and, where they are split one by one, their sides."""

    def __init__(self, key: bytes, share: float | None) -> None:
        self._key, self._share = key, share
        self.fingerprint = Fingerprint(key)
        self.sides: list[bool] = []

    def see(self, record: dict[str, Any]) -> None:
        self.fingerprint.add(record)
        if self._share is not None:
            self.sides += validates([identity_of_record(record)], self._key, self._share)


def _sources(config: RunConfig) -> list[tuple[str, str, list[str]]]:
    """Return field, source and needed columns of every source."""
    sources = [("data.train", config.data.train), ("data.validation", config.data.validation)]
    return [(field, source, _columns(config, field)) for field, source in sources if source is not None]


def _columns(config: RunConfig, field: str) -> list[str]:
    user = config.data.user_column if _is_private(config, field) else None
    return list(dict.fromkeys([*config.task.columns, *([user] if user else [])]))


def _is_private(config: RunConfig, field: str) -> bool:
    return field == "data.train" or config.score.on == "private"


def _read(
    config: RunConfig, encoder: PromptEncoder, source: str, columns: list[str], field: str, key: bytes | None = None
) -> _Encoded:
    user = config.data.user_column if _is_private(config, field) else None
    share = config.data.validation_share
    seen = None if key is None else _WholeRows(key, share if user is None else None)
    rows = list(stream_rows(source, columns, field, seen and seen.see))
    places = [f"{field}, row {number}" for number in range(1, len(rows) + 1)]
    kept = [encoder.keeps(row, where) for row, where in zip(rows, places, strict=True)]
    examples = encoder.encode(rows, field)
    num_ids, context = limits(config.model.path, config.model.head)
    require_ids_fit(examples, num_ids, field)
    require_context(examples, context)
    if not examples:
        raise ValueError(f"{field}: every row of {source} has a label that task.skip_labels leaves out")
    if config.data.shots is not None and field == "data.train":
        examples = few_shot(examples, config.task.label_names, config.data.shots, config.data.shots_seed)
    users, sides = None, list(compress(seen.sides if seen else (), kept))
    if user is not None:
        users = [text_of(row, user, where) for row, where in compress(zip(rows, places, strict=True), kept)]
        sides = validates(map(identity_of_user, users), key, share) if key is not None and share is not None else []
    return _Encoded(examples, users, sides, None if seen is None else seen.fingerprint.hexdigest())


def _side(everyone: _Encoded, *, wanted: bool) -> _Encoded:
    """Return the training or the validation side of the private rows."""
    rows = [row for row, side in zip(range(len(everyone.examples)), everyone.sides, strict=True) if side == wanted]
    users = None if everyone.users is None else [everyone.users[row] for row in rows]
    return _Encoded([everyone.examples[row] for row in rows], users)


def open_evaluator(config: RunConfig, tokenizer: Any) -> tuple[LossEvaluator, float]:
    """Load the model, test on public examples that its probes work, and return it with its rounding in nats."""
    evaluator, method = load_evaluator(config, tokenizer), config.method
    require_size_of_model(method.preset, evaluator.model_size)
    require_kept(method, evaluator.parameter_count)
    examples = public_examples(config.task, tokenizer, PROOF_EXAMPLES)
    laws: list[DirectionLaw] = [method.direction]
    if config.performance.evaluator == "vllm" and probe_rank(config):
        laws.append("gaussian")  # a search may also use probes that cannot be shown as adapters: test those too
    smoothing, _ = smallest_resolution(method)
    probes = [selftest_probes(law, method.seed, method.direction_rank, smoothing) for law in laws]
    return evaluator, max(self_test(evaluator, examples, of, max_tokens=config.task.max_tokens) for of in probes)


def load_evaluator(config: RunConfig, tokenizer: Any) -> SelfTestable:
    """Load the model into the evaluator that `performance.evaluator` names; nothing is tested yet.

    Raises:
        ValueError: the path holds no such model, or the evaluator is not installed.
    """
    import torch

    torch.set_num_threads(config.performance.num_threads or os.cpu_count() or 1)
    settings = config.model, config.performance, tokenizer
    public: dict[str, int] = {"num_labels": len(config.task.label_names), "seed": config.method.seed}
    if config.performance.evaluator == "vllm":
        require_vllm(config.performance.device)
        if config.performance.vllm.shared:
            from trainers.evaluators.vllm.shared import SharedEvaluator

            return SharedEvaluator(*settings, seed=config.method.seed)
        from trainers.evaluators.vllm.evaluator import VllmEvaluator

        return VllmEvaluator(*settings, **public, probe_rank=probe_rank(config))
    from trainers.evaluators.transformers.evaluator import TransformersEvaluator

    return TransformersEvaluator(*settings, **public)


def _gradients(config: RunConfig, evaluator: Any, tokenizer: Any) -> UnitGradients | None:
    """Return the gradients of a first-order method, tested on public examples; None for a zeroth-order method."""
    spec = METHODS[config.method.name]
    if spec.order == "zeroth":
        return None
    from trainers.first_order.proof import open_gradients

    examples = public_examples(config.task, tokenizer, PROOF_EXAMPLES)
    return open_gradients(evaluator, examples, max_tokens=config.performance.micro_batch_tokens, private=spec.private)


def open_run(context: RunContext) -> BaseRun:
    """Open or resume a run in its folder; only a zeroth-order run can have several ranks.

    Raises:
        ValueError: the folder holds the log of another run, or the method cannot run on the workspace.
    """
    if METHODS[context.config.method.name].order == "zeroth":
        return ZerothOrderRun(context)
    from trainers.first_order.run import FirstOrderRun

    return FirstOrderRun(context)
