"""A sweep that draws what an earlier one was charged for and left over (`search.reuse`)."""

import json
from typing import TypeVar

from orchestrator.config.loading import load_sweep, resolved_json
from orchestrator.config.models import SweepConfig
from orchestrator.planning.rules.caps import CapsPlan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP
from orchestrator.storage.existing import find_beside
from orchestrator.storage.paths import root_of, storage_in
from trainers.config import RunConfig

Config = TypeVar("Config", bound=RunConfig)
_OF_PRIVACY = ("expected_batch_size", "noise", "adjacency", "rounding_share")
_OF_DATA = ("num_examples", "user_column", "max_examples_per_user", "num_users", "shots", "shots_seed")


def with_reused_tokens(config: Config) -> Config:
    """Return a configuration whose steps are those that the sweep `search.reuse` left over; any other as it is.

    It takes noise, batch size and unit of privacy from that sweep. Its caps are what is left, unless they are given; a
    sweep that has reserved them keeps them. It reads no private row.

    Raises:
        ValueError: there is no such sweep, or nothing is left of it.
    """
    if not isinstance(config, SweepConfig) or config.search.reuse is None:
        return config
    name = config.search.reuse
    earlier = find_beside(config, name)
    with Ledger(storage_in(root_of(config), config, name).database_url, create=False) as ledger:
        terms, own = ledger.terms_of(name), ledger.terms_of(config.name)
        left = _left(ledger, terms, own)
    if terms is None or not CapsPlan.counts(earlier.config) or not left.get(TRAIN_STEP):
        raise ValueError(
            f"search.reuse: {name!r} has left no steps over: it has drawn them all, it has not ended, its rule charges "
            "whole trials, or another sweep drew them. Leave search.reuse out: then the steps are charged."
        )
    settings = json.loads(resolved_json(config))
    settings["privacy"] |= {key: getattr(earlier.config.privacy, key) for key in _OF_PRIVACY}
    settings["privacy"]["noise_multiplier"] = terms.caps[TRAIN_STEP].parameters["noise_multiplier"]
    settings["data"] |= {key: getattr(earlier.config.data, key) for key in _OF_DATA}
    if config.search.caps is None:
        scores = left.get(EVALUATION) if config.score.on == "private" else None
        settings["search"]["caps"] = {"steps": left[TRAIN_STEP], "scores": scores or None}
    return type(config).model_validate(load_sweep(settings))


def _left(ledger: Ledger, terms: Terms | None, own: Terms | None) -> dict[str, int]:
    """Return what may be drawn, by kind: what the sweep has reserved already, or what closed ones left over."""
    if own is not None:
        return {kind: cap.count for kind, cap in own.caps.items()}
    if terms is None:
        return {}
    return {kind: ledger.leftover(terms.budget, cap.parameters) for kind, cap in terms.caps.items()}
