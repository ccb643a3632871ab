"""Bearer tokens: 256 random bits each, shown once, stored as a hash."""

import hashlib
import secrets
from typing import Final, NamedTuple

from psycopg import Connection

from domain.decision import Actor, Role

PREFIX: Final = "tb_"
"""Marks a token as one of ours, so that scanners for leaked secrets can find it."""


class IssuedToken(NamedTuple):
    """``token`` is the secret itself: it is not stored and can't be shown again."""

    token: str
    actor: Actor


def token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def issue_token(
    connection: Connection[object], ledger: str, person: str, role: Role, community: str | None
) -> IssuedToken:
    """Make a token for one person in one role; ``community`` bounds what staff may act on (None: the district)."""
    token = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        "INSERT INTO tokens (hash, ledger, person, role, community) VALUES (%s, %s, %s, %s, %s)",
        (token_hash(token), ledger, person, role, community),
    )
    return IssuedToken(token, Actor(person, role, community))


def revoke_tokens(connection: Connection[object], ledger: str, person: str) -> int:
    """Revoke every token of one person; returns how many were in use."""
    return connection.execute(
        "UPDATE tokens SET revoked_at = now() WHERE ledger = %s AND person = %s AND revoked_at IS NULL",
        (ledger, person),
    ).rowcount


def known_actors(connection: Connection[object], ledger: str, person: str) -> list[Actor]:
    """What somebody may act as, by the tokens of theirs that are in use: the widest first."""
    rows = connection.execute(
        "SELECT DISTINCT person, role, community FROM tokens"
        " WHERE ledger = %s AND person = %s AND revoked_at IS NULL ORDER BY role, community NULLS FIRST",
        (ledger, person),
    ).fetchall()
    return [Actor(*row) for row in rows]  # type: ignore[misc]


SELECT_ACTOR: Final = (
    "SELECT person, role, community FROM tokens WHERE hash = %s AND ledger = %s AND revoked_at IS NULL"
)
