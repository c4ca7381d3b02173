"""The ledger's tamper evidence: every draw hashes the one before it, and the cap's row keeps the last hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.privacy.errors import LedgerCorruptError


def verify_chain(cap: Any, rows: Sequence[Any]) -> None:
    """Check a cap's row and all its draws, in order of their sequence.

    Raises:
        LedgerCorruptError: naming the first row that does not fit, or the count that does not.
    """
    where = f"{cap.kind!r} of {cap.name!r}"
    head = genesis(cap.name, cap.kind, cap.parameters, cap.cap, cap.reserved_at)
    for sequence, row in enumerate(rows):
        content = {"sequence": row.sequence, "holder": row.holder, "step": row.step, "drawn_at": row.drawn_at}
        head = link(head, content)
        if row.sequence != sequence or row.hash != head:
            raise LedgerCorruptError(
                f"Draw {row.sequence} of {where} is not what was written in its place ({sequence})."
            )
    if head != cap.head_hash or len(rows) != cap.num_drawn or len(rows) > cap.cap:
        raise LedgerCorruptError(
            f"{where}: {len(rows)} draws are there, {cap.num_drawn} were counted, {cap.cap} are allowed, and the last "
            f"hash {'fits' if head == cap.head_hash else 'does not fit'}. Rows or the cap were changed."
        )


def genesis(name: str, kind: str, parameters: str, cap: int, reserved_at: str) -> str:
    """Return the hash that a cap's chain starts from: the cap itself, so that it cannot be raised later."""
    return link("", {"name": name, "kind": kind, "parameters": parameters, "cap": cap, "reserved_at": reserved_at})


def link(previous_hash: str, content: Mapping[str, Any]) -> str:
    """Return the next hash: SHA-256, in hexadecimal, of the previous one and the canonical content."""
    return hashlib.sha256((previous_hash + canonical(content)).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Return JSON with one spelling for each content; ValueError for NaN and infinities."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
