"""The evidence log over HTTP: checkpoint, tiles and entries as C2SP tlog-tiles has them, what was signed before, that
one has grown from the other, and receipts of facts."""

import asyncio
import gzip
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import PAGE_MAX, AfterPosition, page
from api.hours import may_read
from api.identity import ROLES_OF, Anyone, allow
from api.problems import Problem
from api.wiring import Service
from domain.checkpoint import Receipt
from domain.decision import Actor
from domain.leaf import Leaf
from domain.merkle import TILE_HASHES, Tile, parse_number_path
from domain.refusal import Refusal
from domain.statement import NoSigningKey
from infrastructure.codec import decode
from infrastructure.log import (
    checkpoint_of,
    checkpoints,
    consistency,
    entry_bundle,
    newest_checkpoint,
    receipt,
    tile_hashes,
)
from infrastructure.signing import read_key, successions
from projections import hours, household

router = APIRouter(prefix="/v1", tags=["证据 evidence"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_checkpoint": (NoSigningKey, "not-yet-sealed"),
    "list_checkpoints": (),
    "read_checkpoint_of": ("not-found",),
    "read_consistency": ("not-found",),
    "read_successions": (),
    "read_entries": ("not-found",),
    "read_tile": ("not-found",),
    "read_receipt": (NoSigningKey, "not-yet-sealed", "not-yet-projected", "not-found"),
}
TEXT: Final = "text/plain; charset=utf-8"
FOR_EVER: Final = "max-age=31536000, immutable"
A_MINUTE: Final = "max-age=60"
A_SECOND: Final = "max-age=1"
HOUSEHOLD_TAGS: Final = ("account:household:", "household:", "members:")
"""What the tags that name a household begin with."""

_auditors: Final = allow("auditor", "admin").dependency


async def _entries_reader(request: Request) -> Actor | None:
    """Whoever may read entries: auditors and administrators, or everybody where the settings say so."""
    if request.app.state.service.bank.settings.log_entries == "public":
        return None
    actor: Actor = await _auditors(request)
    return actor


ROLES_OF[_entries_reader] = ("auditor", "admin")
EntriesReader = Annotated[Actor | None, Depends(_entries_reader)]
Anybody = Annotated[Actor, allow("volunteer", "staff", "partner", "auditor", "admin")]
Size = Annotated[int, Path(ge=1, le=2**62, description="How many facts the log had when the checkpoint was signed.")]
Rest = Annotated[str, Path(max_length=100, description="The tile's number, such as `x001/234`, or `x001/234.p/5`.")]


class SignedSize(BaseModel):
    """A checkpoint that was signed: for how many facts, when first, and how many witnesses have cosigned it."""

    size: int
    signed_at: datetime
    cosignatures: int


class SignedSizes(BaseModel):
    """A page of them, smallest first."""

    items: list[SignedSize]
    next: int | None
    position: int


@router.get("/log/checkpoint", summary="检查点 Checkpoint", response_class=Response)
async def read_checkpoint(request: Request, _: Anyone) -> Response:
    """The newest signed size and root of the log, with the cosignatures that there are: a C2SP tlog-checkpoint.
    Public."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        note = await newest_checkpoint(connection, service.bank.name)
    if note is None:
        raise await not_yet_sealed(service)
    return Response(note, media_type=TEXT, headers={"Cache-Control": f"public, {A_SECOND}"})


@router.get("/log/checkpoints", response_model=SignedSizes, summary="历次检查点 Checkpoints")
async def list_checkpoints(
    request: Request, _: Anyone, after: AfterPosition = 0, limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100
) -> Response:
    """Every size of the log that was signed, smallest first. All of them can be read, and proven to have grown from
    each other. Public."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        rows = await checkpoints(connection, service.bank.name, after, limit + 1)
    return page(rows, limit, lambda row: row.size, service.position)


@router.get("/log/checkpoints/{size}", summary="旧检查点 Checkpoint of a size", response_class=Response)
async def read_checkpoint_of(request: Request, _: Anyone, size: Size) -> Response:
    """The checkpoint that was signed when the log had so many facts, with the cosignatures that there are by now, which
    may come later. Public."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        note = await checkpoint_of(connection, service.bank.name, size)
    if note is None:
        raise Problem("not-found")
    return Response(note, media_type=TEXT, headers={"Cache-Control": f"public, {A_MINUTE}"})


@router.get("/log/consistency/{older}/{newer}", summary="一致性 Consistency", response_class=Response)
async def read_consistency(request: Request, _: Anyone, older: Size, newer: Size) -> Response:
    """That the log of one checkpoint has grown from that of an older one: both as they were signed first, and the proof
    between them, which `timebank verify` checks without asking us. It never changes. Public."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        found = await consistency(connection, service.bank.name, older, newer)
    if found is None:
        raise Problem("not-found")
    return Response(found.text(), media_type=TEXT, headers={"Cache-Control": f"public, {FOR_EVER}"})


@router.get("/log/successions", summary="密钥交接 Key successions", response_class=Response)
async def read_successions(request: Request, _: Anyone) -> Response:
    """The notes by which the log's keys have named their successors, oldest first, one behind the other. Public."""
    bank = request.app.state.service.bank
    notes = await asyncio.to_thread(successions, bank.settings.data, bank.name)
    return Response("".join(notes), media_type=TEXT, headers={"Cache-Control": f"public, {A_MINUTE}"})


@router.get("/log/tile/entries/{number:path}", summary="条目 Entry bundle", response_class=Response)
async def read_entries(request: Request, caller: EntriesReader, number: Rest) -> Response:
    """The facts themselves, up to 256 leaves, each after its length in two bytes: a C2SP entry bundle. Facts name
    people and households by number, so these are for auditors, unless the operator has opened them to everybody."""
    service: Service = request.app.state.service
    try:
        index, width = parse_number_path(number)
        if width > TILE_HASHES:
            raise ValueError(number)
    except ValueError:
        raise Problem("not-found") from None
    async with service.pool.connection() as connection:
        content = await entry_bundle(connection, service.bank.name, index, width)
    scope = "public" if caller is None else "private"
    return _binary(request, content, f"{scope}, {FOR_EVER if width == TILE_HASHES else A_MINUTE}", compress=True)


@router.get("/log/tile/{level}/{number:path}", summary="瓦片 Tile", response_class=Response)
async def read_tile(request: Request, _: Anyone, level: Annotated[str, Path(max_length=2)], number: Rest) -> Response:
    """Up to 256 hashes of one level of the tree, 32 bytes each: a C2SP tile. Public, for hashes tell nothing."""
    service: Service = request.app.state.service
    try:
        tile = Tile.parse(f"{level}/{number}")
    except ValueError:
        raise Problem("not-found") from None
    async with service.pool.connection() as connection:
        content = await tile_hashes(connection, service.bank.name, tile)
    return _binary(request, content, f"public, {FOR_EVER if tile.width == TILE_HASHES else A_MINUTE}")


@router.get("/facts/{position}/proof", summary="收据 Receipt of a fact", response_class=Response)
async def read_receipt(request: Request, caller: Anybody, position: Annotated[int, Path(ge=1, le=2**62)]) -> Response:
    """That a fact is in the signed log, with the fact itself: a C2SP tlog-proof file, which `timebank verify` and
    others check without asking us. Auditors and administrators get those of all facts; everybody else of what they
    recorded, and volunteers of what concerns their own household: first of all the hours that it gave or was given,
    whoever recorded them. A fact is in the log seconds after it is recorded."""
    service: Service = request.app.state.service
    ledger = service.bank.name
    async with service.pool.connection() as connection:
        found = await receipt(connection, ledger, position)
    if found is not None and not await _may_see(service, caller, found):
        # Whoever may not see it isn't told either that it exists.
        raise Problem("not-found")
    if found is None:
        if position > await asyncio.to_thread(service.bank.store.head):
            raise Problem("not-found")
        raise await not_yet_sealed(service)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="{ledger}-{position}.tlog-proof"',
    }
    return Response(found.text(), media_type=TEXT, headers=headers)


async def _may_see(service: Service, caller: Actor, found: Receipt) -> bool:
    """Raises: Problem 503 where it isn't known yet whom the fact concerns."""
    if caller.role in ("auditor", "admin"):
        return True
    leaf = Leaf.parse(found.leaf)
    if decode(leaf.type, leaf.data, leaf.position).actor == caller.id:
        return True
    if caller.role != "volunteer":
        return False
    await service.fresh(found.position)
    async with service.pool.connection() as connection:
        if await household.concerns(connection, caller.id, *_named(leaf, *HOUSEHOLD_TAGS)):
            return True
        # Facts of a service record name no household: the record does.
        rows = [await hours.record(connection, record) for record in _named(leaf, "record:")]
        return any([row is not None and await may_read(connection, caller, row) for row in rows])


def _named(leaf: Leaf, *kinds: str) -> set[str]:
    """What the tags of these kinds name."""
    return {tag.removeprefix(kind) for kind in kinds for tag in leaf.tags if tag.startswith(kind)}


async def not_yet_sealed(service: Service) -> Exception:
    """Why there is no checkpoint that holds what was asked for."""
    if await asyncio.to_thread(read_key, service.bank.settings.data, service.bank.name) is None:
        return NoSigningKey(service.bank.name)
    return Problem("not-yet-sealed", headers={"Retry-After": "2"})


def _binary(request: Request, content: bytes | None, caching: str, *, compress: bool = False) -> Response:
    """Raises: Problem 404 where there is nothing."""
    if content is None:
        raise Problem("not-found")
    headers = {"Cache-Control": caching}
    if compress:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = gzip.compress(content, 6, mtime=0), "gzip"
    return Response(content, media_type="application/octet-stream", headers=headers)
