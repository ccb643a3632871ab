"""What a live ledger puts into an audit bundle: its log, its facts, and what its projections say at one position."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection

from api.wiring import Timebank, known, one_moment
from application.bundle import Contents, Manifest, NoSuchPeriod, NothingRecorded, write_bundle
from application.replay import CELLS, Counted
from domain.checkpoint import Checkpoint
from domain.disclosure import Disclosure, fit_period, last_day
from domain.figures import Basis, last_instant
from domain.merkle import Tile, tiles_in
from domain.statement import NoSigningKey
from infrastructure import log
from infrastructure.codec import decode
from infrastructure.cosignature import trusted_witnesses
from infrastructure.signing import preceding, read_key, successions
from projections.account import balances_at
from projections.figures import figures

TILES_AT_ONCE = 64


def export(
    bank: Timebank, directory: Path, period: str | None, progress: Callable[[int, int], None] = lambda *_: None
) -> Manifest:
    """Write the ledger's bundle: as it stands now; or as the seal of a month counted it; or, where the month isn't
    sealed, with all that was recorded in it and before. It ends at the first checkpoint that holds so much.
    ``progress`` is told facts written, and facts in all.

    Raises: NoSigningKey, NoSuchPeriod, NothingRecorded, and as `write_bundle` and `Sealer`.
    """
    key = read_key(bank.settings.data, bank.name)
    if key is None:
        raise NoSigningKey(bank.name)
    position = None if period is None else _end_of(bank, period)
    with contextlib.closing(bank.sealer()) as sealer:
        sealer.catch_up()
        sealer.sign()
    notes = successions(bank.settings.data, bank.name)
    keys = preceding(key.verifier, notes)[::-1]
    with asyncio.Runner() as runner:
        connection = runner.run(AsyncConnection.connect(bank.address, autocommit=True))
        try:
            checkpoint = runner.run(
                log.newest_checkpoint(connection, bank.name)
                if position is None
                else log.checkpoint_holding(connection, bank.name, position)
            )
            if checkpoint is None:
                raise NoSigningKey(bank.name)
            size = Checkpoint.of_note(checkpoint).size
            counted = _counted(bank, size)
            contents = Contents(
                ledger=bank.name,
                zone=bank.zone,
                synthetic=bank.opened.synthetic,
                size=size,
                period=period,
                checkpoint=checkpoint,
                older_checkpoints=runner.run(log.older_checkpoints(connection, bank.name, size, bank.opened.zone)),
                successions="".join(notes),
                log_keys=[str(one) for one in keys],
                witness_keys=[str(one) for one in runner.run(trusted_witnesses(connection, bank.name))],
                tiles=_tiles(runner, connection, bank.name, size),
                facts=bank.store.scan_stored(0, size),
                decode=decode,
                balances=counted.balances,
                figures=counted.figures,
                cells=counted.cells,
            )
            return write_bundle(directory, contents, lambda done: progress(done, size))
        finally:
            runner.run(connection.close())


def _end_of(bank: Timebank, period: str) -> int:
    """The watermark of a month's seal, or else the last position that was recorded by its end.

    Raises: NoSuchPeriod, NothingRecorded.
    """
    try:
        ended = last_instant(last_day(fit_period(period)), bank.zone)
    except ValueError:
        raise NoSuchPeriod(period) from None
    sealed = known(bank.store, Disclosure.of(period)).sealed
    if sealed is not None and sealed.watermark:
        return sealed.watermark
    if datetime.now(bank.zone) <= ended:
        raise NoSuchPeriod(period)
    position = bank.store.position_at(ended)
    if not position:
        raise NothingRecorded(period)
    return position


def _tiles(
    runner: asyncio.Runner, connection: AsyncConnection[Any], ledger: str, size: int
) -> Iterator[tuple[Tile, bytes]]:
    """Raises: LogDamaged where the log lacks one."""
    wanted = tiles_in(size)
    while tiles := list(islice(wanted, TILES_AT_ONCE)):
        for tile, hashes in zip(tiles, runner.run(log.tiles_hashes(connection, ledger, tiles)), strict=True):
            if hashes is None:
                raise log.LogDamaged(f"缺少瓦片 {tile.path}", f"it lacks the tile {tile.path}")
            yield tile, hashes


def _counted(bank: Timebank, position: int) -> Counted:
    """What the projections say at a position."""
    bank.catch_up()
    with bank.reading() as connection, one_moment(connection) as (cursor, _):
        return counted(cursor, balances_at(cursor, position), "recorded", position)


def counted(cursor: psycopg.Cursor[Any], balances: dict[str, int], basis: Basis, position: int) -> Counted:
    """These balances, and the figures as the projections have them."""
    asked: dict[str, Any] = {"basis": basis, "position": position}
    return Counted(
        balances,
        figures(cursor, **asked)[""],
        {name: figures(cursor, **asked, by=by, level=level) for name, (by, level) in CELLS.items()},
    )
