"""A ledger's log as files, for others' programs to judge: as C2SP tlog-tiles lays it out, with proofs of ours.

checkpoint, tile/…, tile/entries/…     as under /v1/log/
checkpoints/N.note                     an older checkpoint; both are cosigned
checkpoints/N.consistency              the proof from it to the newest, as `timebank consistency` gives it
proofs/0 to 999                        an inclusion and a consistency proof each: see main.go
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection

from api.wiring import SYSTEM, timebank
from application.write_loop import Ticket
from domain.checkpoint import Checkpoint
from domain.community import RegisterCommunity, register_community
from domain.merkle import TILE_HASHES, Tile, consistency_ranges, inclusion_ranges, proof, tile_width
from domain.statement import VerifierKey
from infrastructure.cosignature import keep_cosignature, trust
from infrastructure.log import checkpoint_of, consistency, entry_bundle, newest_checkpoint, tile_hashes
from infrastructure.signing import CosigningKey, create_key, create_witness_key, verified
from tests.conftest import settings_for

PROOFS = 1_000


class LogFiles(NamedTuple):
    """Where they are, whose keys have signed them, and the proofs that are among them."""

    directory: Path
    key: VerifierKey
    witness: VerifierKey
    checkpoint: Checkpoint
    proofs: list[tuple[int, list[bytes]]]
    """Index and inclusion proof of each."""


def written(address: str, directory: Path) -> LogFiles:
    """Seal, sign and cosign the ledger of a database, once more after something was recorded, and write its log."""
    settings = settings_for(address).model_copy(update={"data": directory / "data"})
    key = create_key(settings.data, settings.ledger).verifier
    witness = create_witness_key(directory / "witness" / "key", "audit.example/a001")
    with timebank(settings) as bank, closing(bank.sealer()) as sealer:
        sealer.catch_up()
        older = sealer.sign()
        bank.run(Ticket(register_community, RegisterCommunity(community="新社区"), SYSTEM, "another"))
        sealer.catch_up()
        newest = sealer.sign()
        with psycopg.connect(bank.owner_address) as connection:
            trust(connection, bank.name, witness.verifier)
    assert older is not None
    assert newest is not None
    assert older != newest
    checkpoint = Checkpoint.parse(verified(newest, [key]))
    log = directory / "log"
    tiles = asyncio.run(_write_log(address, settings.ledger, witness, [older, newest], log))
    chosen = random.Random(7)  # noqa: S311 - any will do, and the same each time
    proofs = []
    for number in range(PROOFS):
        index, old = chosen.randrange(checkpoint.size), chosen.randrange(1, checkpoint.size + 1)
        content = index.to_bytes(8, "big") + old.to_bytes(8, "big")
        for ranges in (inclusion_ranges(index, checkpoint.size), consistency_ranges(old, checkpoint.size)):
            path = proof(ranges, checkpoint.size, tiles.__getitem__)
            content += len(path).to_bytes(8, "big") + b"".join(path)
            if len(proofs) == number:
                proofs.append((index, path))
        _write(log / "proofs" / str(number), content)
    return LogFiles(log, key, witness.verifier, checkpoint, proofs)


async def _write_log(
    address: str, ledger: str, witness: CosigningKey, notes: list[str], directory: Path
) -> dict[Tile, bytes]:
    sizes = [Checkpoint.parse(note.partition("\n\n")[0] + "\n").size for note in notes]
    async with await AsyncConnection.connect(address, autocommit=True) as connection:
        for size, note in zip(sizes, notes, strict=True):
            line = witness.cosign(note.partition("\n\n")[0] + "\n", int(time.time())).line()
            assert await keep_cosignature(connection, ledger, size, line) is not None
        older = await checkpoint_of(connection, ledger, sizes[0])
        newest = await newest_checkpoint(connection, ledger)
        grown = await consistency(connection, ledger, *sizes, cosigned=True)
        assert older is not None
        assert newest is not None
        assert grown is not None
        _write(directory / "checkpoint", newest.encode())
        _write(directory / "checkpoints" / f"{sizes[0]}.note", older.encode())
        _write(directory / "checkpoints" / f"{sizes[0]}.consistency", grown.text().encode())
        tiles = {}
        for tile in _tiles(sizes[1]):
            content = await tile_hashes(connection, ledger, tile)
            assert content is not None
            tiles[tile] = content
            _write(directory / "tile" / tile.path, content)
            if tile.level == 0:
                entries = await entry_bundle(connection, ledger, tile.number, tile.width)
                assert entries is not None
                _write(directory / "tile" / "entries" / tile.path.partition("/")[2], entries)
    return tiles


def _tiles(size: int) -> Iterator[Tile]:
    level = 0
    while size >> 8 * level:
        for number in range((size >> 8 * level) // TILE_HASHES + 1):
            tile = Tile(level, number, tile_width(size, level, number))
            if tile.width:
                yield tile
        level += 1


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
