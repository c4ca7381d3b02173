"""The ledger's tables, with a schema version and a secret key of the ledger's own.

- ledger_meta: one row, version and key. A transaction that changes a budget or a reservation locks it.
- budgets: the declared terms, and the last hash of the budget's chain of entries.
- entries: what happened to a budget: created, fingerprinted, reserved, moved, closed, clock
  accepted. This is the truth.
- reservations, caps: what the entries add up to, as rows that can be found and locked; a cap has the last hash of its
  draws.
- draws: one row for each draw of one or more tokens.
- holders: how much each holder drew of a cap that is limited for each holder; the sum of draws.
"""

import secrets
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
)

SCHEMA_VERSION = 2
_KEY_BYTES = 32

metadata = MetaData()

meta = Table(
    "ledger_meta",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("key", String(64), nullable=False),  # hexadecimal; stays with the operator
    Column("created_at", String(64), nullable=False),
)

budgets = Table(
    "budgets",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("terms", Text, nullable=False),  # canonical JSON
    Column("fingerprint", String(255), unique=True),
    Column("num_entries", Integer, nullable=False),
    Column("head_hash", String(64), nullable=False),
    Column("last_at", String(64), nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("budget", String(255), ForeignKey("budgets.name"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("entry", String(32), nullable=False),
    Column("name", String(255)),  # of the reservation, where there is one
    Column("content", Text, nullable=False),  # canonical JSON
    Column("made_at", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

reservations = Table(
    "reservations",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("budget", String(255), ForeignKey("budgets.name"), nullable=False, index=True),
    Column("terms", Text, nullable=False),  # canonical JSON
    Column("secret", Text),  # canonical JSON; the chain has only its keyed hash
    Column("closed", Boolean, nullable=False),
    Column("reserved_at", String(64), nullable=False),
)

caps = Table(
    "caps",
    metadata,
    Column("name", String(255), ForeignKey("reservations.name"), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("parameters", Text, nullable=False),  # canonical JSON
    Column("cap", BigInteger, nullable=False),  # as reserved
    Column("per_holder", BigInteger),
    Column("num_moved", BigInteger, nullable=False),  # given to later reservations
    Column("num_drawn", BigInteger, nullable=False),  # in the unit of the cap
    Column("num_draws", BigInteger, nullable=False),  # number of draw rows
    Column("head_hash", String(64), nullable=False),  # of the last draw, or cap_genesis
    Column("last_at", String(64), nullable=False),
)

draws = Table(
    "draws",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("first", BigInteger, nullable=False),  # number of the first token
    Column("num_tokens", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("holder", String(255), nullable=False),
    Column("step", BigInteger),
    Column("nonce", String(64)),
    Column("drawn_at", String(64), nullable=False),  # a day: see clock.py
    Column("hash", String(64), nullable=False),
    ForeignKeyConstraint(["name", "kind"], ["caps.name", "caps.kind"]),
    UniqueConstraint("name", "kind", "nonce"),
)

holders = Table(
    "holders",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("holder", String(255), primary_key=True),
    Column("units", BigInteger, nullable=False),
    ForeignKeyConstraint(["name", "kind"], ["caps.name", "caps.kind"]),
)

_META = select(meta)


def key_of(connection: Connection, place: str) -> bytes | None:
    """Return the ledger's key; None if this database has no ledger.

    Raises:
        ValueError: a ledger of another version.
    """
    tables = inspect(connection)
    if not tables.has_table(meta.name):
        if tables.has_table("reservations") and tables.has_table("draws"):
            raise _other_version(place, "0.1 of dpzo, which knew no budgets")
        return None
    row = connection.execute(_META).one()
    if row.schema_version != SCHEMA_VERSION:
        raise _other_version(place, f"schema {row.schema_version}; this dpzo reads schema {SCHEMA_VERSION}")
    return bytes.fromhex(row.key)


def create_tables(connection: Connection) -> None:
    """Make an empty ledger with a fresh key; the caller makes sure that nobody else does."""
    metadata.create_all(connection)
    now = datetime.now(UTC).isoformat()
    key = secrets.token_hex(_KEY_BYTES)
    connection.execute(insert(meta).values(id=1, schema_version=SCHEMA_VERSION, key=key, created_at=now))


def _other_version(place: str, what: str) -> ValueError:
    return ValueError(
        f"The ledger at {place} is of version {what}. Use the dpzo that wrote it; or start a new ledger elsewhere and "
        "subtract what the old one spent from the budget that you declare there."
    )
