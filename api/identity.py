"""Who is calling, and who may call what. Every route names its roles; what names none is not reachable."""

import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from psycopg_pool import AsyncConnectionPool

from api.problems import Problem
from domain.decision import Actor, Role
from infrastructure.tokens import SELECT_ACTOR, token_hash

REMEMBERED_SECONDS: Final = 5.0
"""How long a token's answer is kept: a revoked token works that much longer at the most."""
REMEMBERED_MAX: Final = 50_000


class Identity:
    """Looks bearer tokens up by their hash, and remembers the answers for a few seconds."""

    def __init__(self, pool: AsyncConnectionPool[Any], ledger: str) -> None:
        self._pool = pool
        self._ledger = ledger
        self._known: dict[str, tuple[float, Actor]] = {}

    async def actor(self, authorization: str | None) -> Actor:
        """Raises: Problem 401."""
        if authorization is None or authorization[:7].lower() != "bearer ":
            raise _unauthorized()
        token = authorization[7:].strip()
        now = time.monotonic()
        known = self._known.get(token)
        if known is not None and known[0] > now:
            return known[1]
        async with self._pool.connection() as connection:
            cursor = await connection.execute(SELECT_ACTOR, (token_hash(token), self._ledger))
            row = await cursor.fetchone()
        if row is None:
            self._known.pop(token, None)
            raise _unauthorized()
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        actor = Actor(*row)
        self._known[token] = (now + REMEMBERED_SECONDS, actor)
        return actor


def _unauthorized() -> Problem:
    return Problem("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="timebank"'})


Check = Callable[[Request], Coroutine[Any, Any, Actor | None]]
ROLES_OF: Final[dict[Check, tuple[Role, ...] | None]] = {}
"""The roles that each dependency lets through; None is everybody. `create_app` holds every route to one of these."""


def allow(*roles: Role) -> Any:
    """A dependency that lets these roles call, and gives the `Actor`. Raises: Problem 401, 403."""

    async def caller(request: Request) -> Actor:
        actor: Actor = await request.app.state.service.identity.actor(request.headers.get("authorization"))
        if actor.role not in roles:
            raise Problem("role-not-allowed", role=actor.role, roles_allowed=list(roles))
        return actor

    ROLES_OF[caller] = roles
    return Depends(caller)


async def _everybody(_: Request) -> None:
    return None


ROLES_OF[_everybody] = None
EVERYBODY: Final = Depends(_everybody)

Anyone = Annotated[None, EVERYBODY]
Writer = Annotated[Actor, allow("volunteer", "staff", "admin")]
Staff = Annotated[Actor, allow("staff", "admin")]
Admin = Annotated[Actor, allow("admin")]
Reader = Annotated[Actor, allow("volunteer", "staff", "auditor", "admin")]
"""Any known caller but partners; what each of them sees is bounded by the route."""
Partner = Annotated[Actor, allow("partner", "staff", "admin")]
"""The counter of a partner, which acts for itself only."""
Addressee = Annotated[Actor, allow("volunteer", "staff", "partner", "admin")]
"""Whoever may be told something, and says what of it they have read."""
Inspector = Annotated[Actor, allow("staff", "auditor", "admin")]
Auditor = Annotated[Actor, allow("auditor")]
"""Who draws samples and records findings, and writes nothing else."""
